"""The networks by name."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from unwarp.checks import check_choice
from unwarp.models.classifier import Classifier
from unwarp.models.convnet import convnet
from unwarp.models.jaderberg import cnn, fcn
from unwarp.nn import (
    Localization,
    ProbabilisticLocalization,
    Projection,
    SpatialTransformer,
    centroid,
    convolutional,
    fully_connected,
)
from unwarp.transforms import (
    Affine,
    Attention,
    Bounded,
    Projective,
    Rotation,
    Similarity,
    ThinPlateSpline,
    Transform,
    Translation,
)

MODELS = ("fcn", "cnn", "convnet", "st-fcn", "st-cnn", "st-convnet", "pst-fcn", "pst-cnn", "pst-convnet")
_LINEAR: dict[str, Callable[[int], Transform]] = {
    "translation": Translation,
    "attention": Attention,
    "rotation": Rotation,
    "similarity": Similarity,
    "affine": Affine,
    "projective": Projective,
}
TRANSFORMS = (*_LINEAR, "tps")

# Wide enough for everything the recipes do to a picture, narrow enough that a picture stays in sight.
BOUNDS: dict[str, Any] = {
    "scale": (0.25, 2.5),
    "angle": math.pi,
    "shear": 1.0,
    "translation": 1.0,
    "perspective": 0.4,
    "offset": 0.5,
}


def build_transform(name: str, ndim: int = 2, *, bounded: bool = False, regularization: float = 0.0) -> Transform:
    """The transform of that name, of `TRANSFORMS`; "tps" has 4 points along each axis.

    `bounded` keeps it within `BOUNDS`.
    """
    check_choice("transform", name, TRANSFORMS)
    if name == "tps":
        transform: Transform = ThinPlateSpline((4,) * ndim, regularization=regularization)
    else:
        transform = _LINEAR[name](ndim)
    if not bounded:
        return transform
    return Bounded(transform, **{kind: bound for kind, bound in BOUNDS.items() if kind in transform.kinds})


def build_model(
    name: str,
    in_shape: Sequence[int],
    num_classes: int,
    *,
    transform: Transform | None = None,
    num_transformers: int = 1,
    look: bool = False,
    passes: int = 1,
    crop: Sequence[int] | None = None,
    leash: float = 1.0,
    window: float = 1.0,
    samples: int = 10,
    projection: str = "sum",
    dropout: float = 0.0,
    parameters: int = 400_000,
    backbone: nn.Module | None = None,
) -> Classifier:
    """A classifier by name.

    Args:
        name: one of `MODELS`: "fcn" and "cnn" are the paper's, "convnet" is smaller and of its time; "st-" puts spatial
            transformers before it, "pst-" a probabilistic one.
        in_shape: `(C, H, W)` of the images; or `(C, D, H, W)` of volumes, which are projected to pictures after the
            transformers.
        num_classes: number of classes.
        transform: what theta of the spatial transformers means; affine if None.
        num_transformers: how many follow each other, in the "st-" models; a probabilistic one is alone.
        look: whether one more comes before them, which shifts to the centroid of a heatmap; see `CentroidLocalization`.
        passes: how often they are gone through; see `Cascade`.
        crop: spatial size of their output; that of the images if None.
        leash: see `SpatialTransformer`.
        window: of the first transformer; see `SpatialTransformer`. The others start with all that it shows.
        samples: how many maps a probabilistic transformer draws in evaluation.
        projection: how volumes become pictures, one of `PROJECTIONS`.
        dropout: before the last layer of the classifier.
        parameters: about how many, for the whole of the paper's networks.
        backbone: a module from images to logits, to take the place of the classification network.

    Raises:
        ValueError: for a name that is not known, images too small for the network, or a probabilistic transformer that
            is not alone.
    """
    check_choice("model", name, MODELS)
    prefix, _, base = name.rpartition("-")
    transformers = []
    if prefix:
        transform = Affine(len(in_shape) - 1) if transform is None else transform
        crop = tuple(in_shape[1:]) if crop is None else tuple(crop)
        seen = tuple(in_shape) if passes == 1 else (in_shape[0], *crop)
        families = [*([Translation(len(crop))] if look else []), *[transform] * num_transformers]
        for index, family in enumerate(families):
            first = index == 0
            localization: nn.Module
            if look and first:
                localization = centroid(seen)
            elif prefix == "pst":
                localization = ProbabilisticLocalization(_localization(base, seen, family))
            else:
                localization = _localization(base, seen, family)
            transformers.append(
                SpatialTransformer(localization, family, crop, leash=leash, window=window if first else 1.0)
            )
            seen = (in_shape[0], *crop)
        in_shape = seen
    is_volume = len(in_shape) == 4
    if is_volume:
        in_shape = (in_shape[0], *in_shape[2:])
    if backbone is None:
        left = parameters - sum(p.numel() for transformer in transformers for p in transformer.parameters())
        if base == "convnet":
            backbone = convnet(in_shape, num_classes, dropout=dropout)
        else:
            backbone = {"fcn": fcn, "cnn": cnn}[base](in_shape, num_classes, parameters=left, dropout=dropout)
    if is_volume:
        backbone = nn.Sequential(Projection(projection), backbone)
    return Classifier(backbone, transformers, passes, samples)


def _localization(base: str, in_shape: Sequence[int], transform: Transform) -> Localization:
    if base == "fcn":
        return fully_connected(in_shape, transform)
    if base == "cnn":
        return convolutional(in_shape, transform)
    # In a volume the cube of 3 has a fifth of the work.
    kernel = 5 if len(in_shape) == 3 else 3
    return convolutional(in_shape, transform, channels=(16, 32), kernel=kernel, hidden=32, normalize=True)
