"""The networks by name."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from unwarp.checks import check_choice
from unwarp.models.classifier import Classifier
from unwarp.models.convnet import convnet
from unwarp.models.jaderberg import cnn, fcn
from unwarp.models.multi import insert_transformers, small_localization
from unwarp.models.side_by_side import NetworksOfCrops, network_of_channels
from unwarp.nn import (
    Localization,
    ParallelLocalization,
    SpatialTransformer,
    centroid,
    convolutional,
    fully_connected,
    tiles,
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

_PLAIN = ("fcn", "cnn", "convnet")
# How many spatial transformers stand side by side, and the tiles of the picture that crops start with.
_SIDE_BY_SIDE = {"2st": (1, 2), "4st": (2, 2)}
_KINDS = ("st", *_SIDE_BY_SIDE, "multi-st")
MODELS = (
    *_PLAIN,
    *(f"{kind}-{base}" for kind in _KINDS[:-1] for base in _PLAIN),
    "multi-st-cnn",
    "multi-st-convnet",
)
PARALLEL = ("channels", "crops", "shared-crops")
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


def has_transformers(name: str) -> bool:
    """Whether the model of that name, of `MODELS`, has spatial transformers."""
    return name not in _PLAIN


def build_model(
    name: str,
    in_shape: Sequence[int],
    num_classes: int,
    *,
    transform: Transform | None = None,
    num_transformers: int = 1,
    look: bool = False,
    passes: int = 1,
    parallel: str = "channels",
    crop: Sequence[int] | None = None,
    leash: float = 1.0,
    window: float = 1.0,
    jitter: float = 0.0,
    dropout: float = 0.0,
    parameters: int = 400_000,
    backbone: Callable[[Sequence[int], int], nn.Module] | None = None,
) -> Classifier:
    """A classifier by name.

    Args:
        name: one of `MODELS`: "fcn" and "cnn" are the paper's, "convnet" is smaller and of its time; "st-" puts spatial
            transformers before it, "2st-" and "4st-" that many side by side, "multi-st-" one before each of its first
            four convolutions.
        in_shape: `(C, H, W)` of the images.
        num_classes: number of classes.
        transform: what theta of the spatial transformers means; affine if None.
        num_transformers: how many follow each other, in the "st-" models.
        look: whether one more comes before them, which shifts to the centroid of a heatmap; see `CentroidLocalization`.
        passes: how often they are gone through; see `Cascade`.
        parallel: what becomes of the outputs of transformers side by side. "channels": those of one network; each
            transformer has its own localization network. "crops": each has a network of its own, and they decide
            together; one localization network for all, which starts on tiles of the picture. "shared-crops": the same
            with one network for all crops.
        crop: spatial size of the transformers' output; that of the images if None.
        leash: see `SpatialTransformer`.
        window: of the first transformer, or those side by side; see `SpatialTransformer`. The others start with all
            that it shows.
        jitter: of the last transformer, or those side by side; see `SpatialTransformer`.
        dropout: before the last layer of the classifier.
        parameters: about how many, for the whole of the paper's networks.
        backbone: makes a module from images `(C, H, W)` to that many outputs, for the place of each classification
            network.

    Raises:
        ValueError: for a name that is not known, images too small for the network, or words that do not go together.
    """
    check_choice("model", name, MODELS)
    check_choice("parallel", parallel, PARALLEL)
    kind = next((kind for kind in _KINDS if name.startswith(f"{kind}-")), "")
    base = name.removeprefix(f"{kind}-")
    if kind not in ("", "st") and (num_transformers, passes, look) != (1, 1, False):
        raise ValueError(
            f"transformers, passes, look: wanted 1, 1 and no look for {name}, got {num_transformers}, {passes}, {look}"
        )
    if kind == "multi-st" and backbone is not None:
        raise ValueError(f"backbone: wanted none for {name}, whose transformers are between its own layers")
    transform = Affine() if transform is None else transform
    crop = tuple(in_shape[1:]) if crop is None else tuple(crop)
    seen = (in_shape[0], *crop)

    transformers: list[SpatialTransformer] = []
    if kind:
        sees = tuple(in_shape) if passes == 1 else seen
        families = [*([Translation()] if look else []), *[transform] * num_transformers]
        for index, family in enumerate(families):
            first, last = index == 0, index == len(families) - 1
            localization = centroid(sees) if look and first else _localization(kind, base, sees, family, parallel)
            how: dict[str, Any] = {
                "leash": leash,
                "window": window if first else 1.0,
                "jitter": jitter if last else 0.0,
            }
            transformers.append(SpatialTransformer(localization, family, crop, **how))
            sees = seen

    left = parameters - sum(p.numel() for transformer in transformers for p in transformer.parameters())
    sees = seen if kind else tuple(in_shape)
    if kind in _SIDE_BY_SIDE:
        count = math.prod(_SIDE_BY_SIDE[kind])
        each = left // count if parallel == "crops" else left
        make = backbone or partial(_network, base, dropout=dropout, parameters=each)
        if parallel == "channels":
            network = network_of_channels(make, count, sees, num_classes)
        else:
            network = NetworksOfCrops(make, count, sees, num_classes, shared=parallel == "shared-crops")
    elif kind == "multi-st":
        insert = partial(insert_transformers, in_shape=sees, transform=transform, leash=leash)
        network = _network(base, sees, num_classes, dropout=dropout, parameters=left, change=insert)
    else:
        make = backbone or partial(_network, base, dropout=dropout, parameters=left)
        network = make(sees, num_classes)
    return Classifier(network, transformers, passes)


def _network(
    base: str,
    in_shape: Sequence[int],
    outputs: int,
    *,
    dropout: float,
    parameters: int,
    change: Callable[[nn.Sequential], nn.Sequential] = lambda network: network,
) -> nn.Module:
    if base == "convnet":
        return change(convnet(in_shape, outputs, dropout=dropout))
    if base == "cnn":
        return cnn(in_shape, outputs, parameters=parameters, dropout=dropout, change=change)
    return fcn(in_shape, outputs, parameters=parameters, dropout=dropout)


def _localization(kind: str, base: str, in_shape: Sequence[int], transform: Transform, parallel: str) -> nn.Module:
    if kind == "multi-st":
        return small_localization(in_shape, transform)
    if kind not in _SIDE_BY_SIDE:
        return _localization_of(base, in_shape, transform)
    counts = _SIDE_BY_SIDE[kind]
    if parallel == "channels":
        return ParallelLocalization([_localization_of(base, in_shape, transform) for _ in range(math.prod(counts))])
    return _localization_of(base, in_shape, transform, tiles(transform, counts))


def _localization_of(
    base: str, in_shape: Sequence[int], transform: Transform, start: Tensor | None = None
) -> Localization:
    if base == "fcn":
        return fully_connected(in_shape, transform, start=start)
    if base == "cnn":
        return convolutional(in_shape, transform, start=start)
    return convolutional(in_shape, transform, channels=(16, 32), hidden=32, normalize=True, start=start)
