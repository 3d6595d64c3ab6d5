"""The networks by name."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from unwarp.checks import check_choice
from unwarp.models.classifier import Classifier
from unwarp.models.convnet import convnet
from unwarp.models.jaderberg import cnn, fcn
from unwarp.models.sonderby import (
    crop_reader,
    feed_forward_localization,
    feed_forward_reader,
    recurrent_localization,
    sequence_cnn,
)
from unwarp.nn import Localization, SpatialTransformer, convolutional, fully_connected
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

MODELS = (
    "fcn",
    "cnn",
    "convnet",
    "sequence-cnn",
    "st-fcn",
    "st-cnn",
    "st-convnet",
    "st-sequence-cnn",
    "st-recurrent",
)
_LINEAR: dict[str, Callable[[], Transform]] = {
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


def build_transform(name: str, *, bounded: bool = False, regularization: float = 0.0) -> Transform:
    """The 2-D transform of that name, of `TRANSFORMS`; "tps" has 4×4 points. `bounded` keeps it within `BOUNDS`."""
    check_choice("transform", name, TRANSFORMS)
    transform = ThinPlateSpline((4, 4), regularization=regularization) if name == "tps" else _LINEAR[name]()
    if not bounded:
        return transform
    return Bounded(transform, **{kind: bound for kind, bound in BOUNDS.items() if kind in transform.kinds})


def build_model(
    name: str,
    in_shape: Sequence[int],
    num_classes: int,
    *,
    steps: int | None = None,
    transform: Transform | None = None,
    num_transformers: int = 1,
    passes: int = 1,
    crop: Sequence[int] | None = None,
    leash: float = 1.0,
    window: float = 1.0,
    dropout: float = 0.0,
    parameters: int = 400_000,
    backbone: nn.Module | None = None,
) -> Classifier:
    """A classifier by name.

    Args:
        name: one of `MODELS`: "fcn" and "cnn" are the paper's, "convnet" is smaller and of its time; "st-" puts spatial
            transformers before it. "st-sequence-cnn" and "st-recurrent" are FFN-SPN and RNN-SPN of arXiv 1509.05329:
            one crop of an image for all of its labels, or one for each; "sequence-cnn" is a plain network beside them.
        in_shape: `(C, H, W)` of the images.
        num_classes: number of classes.
        steps: T, for sequences of labels: logits are then `[N, T, num_classes]`.
        transform: what theta of the spatial transformers means; affine if None.
        num_transformers: how many follow each other, in the "st-" models.
        passes: how often they are gone through; see `Cascade`.
        crop: spatial size of their output; that of the images if None.
        leash: see `SpatialTransformer`.
        window: of the first transformer; see `SpatialTransformer`. The others start with all that it shows.
        dropout: before the last layer of the classifier.
        parameters: about how many, for the whole of the paper's networks.
        backbone: a module from images to logits, to take the place of the classification network.

    Raises:
        ValueError: for a name that is not known, images too small for the network, or "st-recurrent" without `steps` or
            with more than one transformer or pass.
    """
    check_choice("model", name, MODELS)
    base = name.removeprefix("st-")
    recurrent = base == "recurrent"
    if recurrent and (steps is None or (num_transformers, passes) != (1, 1)):
        raise ValueError(
            f"model: wanted sequences of labels, one transformer and one pass for {name}, got steps={steps}, "
            f"transformers={num_transformers}, passes={passes}"
        )
    transformers = []
    if name.startswith("st-"):
        transform = Affine() if transform is None else transform
        crop = tuple(in_shape[1:]) if crop is None else tuple(crop)
        seen = tuple(in_shape) if passes == 1 else (in_shape[0], *crop)
        for index in range(num_transformers):
            localization = _localization(base, seen, transform, steps)
            first = window if index == 0 else 1.0
            transformers.append(SpatialTransformer(localization, transform, crop, leash=leash, window=first))
            seen = (in_shape[0], *crop)
        in_shape = seen
    # One network reads all labels at once, unless there is a crop for each.
    at_once = None if recurrent else steps
    if backbone is None:
        left = parameters - sum(p.numel() for transformer in transformers for p in transformer.parameters())
        backbone = _backbone(name, in_shape, num_classes * (at_once or 1), dropout, left)
        if at_once is not None:
            backbone = nn.Sequential(backbone, nn.Unflatten(1, (at_once, num_classes)))
    return Classifier(backbone, transformers, passes)


def _backbone(name: str, in_shape: Sequence[int], num_outputs: int, dropout: float, parameters: int) -> nn.Module:
    match name:
        case "st-recurrent":
            return crop_reader(in_shape, num_outputs, dropout=dropout)
        case "st-sequence-cnn":
            return feed_forward_reader(in_shape, num_outputs, dropout=dropout)
        case "sequence-cnn":
            return sequence_cnn(in_shape, num_outputs, dropout=dropout)
        case "convnet" | "st-convnet":
            return convnet(in_shape, num_outputs, dropout=dropout)
        case "fcn" | "st-fcn":
            return fcn(in_shape, num_outputs, parameters=parameters, dropout=dropout)
        case _:
            return cnn(in_shape, num_outputs, parameters=parameters, dropout=dropout)


def _localization(base: str, in_shape: Sequence[int], transform: Transform, steps: int | None) -> Localization:
    match base:
        case "recurrent":
            assert steps is not None
            return recurrent_localization(in_shape, transform, steps)
        case "sequence-cnn":
            return feed_forward_localization(in_shape, transform)
        case "fcn":
            return fully_connected(in_shape, transform)
        case "cnn":
            return convolutional(in_shape, transform)
        case _:
            return convolutional(in_shape, transform, channels=(16, 32), hidden=32, normalize=True)
