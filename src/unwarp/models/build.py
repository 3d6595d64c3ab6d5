"""The networks by name."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from unwarp.checks import check_choice, check_count, check_size
from unwarp.models.classifier import Classifier
from unwarp.models.convnet import convnet
from unwarp.models.jaderberg import cnn, fcn
from unwarp.models.lin import lin_classifier, lin_cnn
from unwarp.models.localizations import localization_network
from unwarp.models.multi import insert_transformers
from unwarp.models.side_by_side import PARALLEL, SIDE_BY_SIDE, NetworksOfCrops, network_of_channels
from unwarp.models.sonderby import crop_reader, feed_forward_reader, sequence_cnn
from unwarp.nn import PROJECTIONS, PerMap, Projection, SpatialTransformer, centroid
from unwarp.transforms import Affine, Transform, Translation

_BASES = ("fcn", "cnn", "convnet")
# How the spatial transformers stand, and the classification networks that may follow them.
KINDS: dict[str, tuple[str, ...]] = {
    "": (*_BASES, "lin-cnn", "sequence-cnn"),
    "st": (*_BASES, "lin-cnn", "sequence-cnn", "recurrent"),
    "pst": _BASES,
    "2st": _BASES,
    "4st": _BASES,
    "multi-st": ("cnn", "convnet"),
}
# Each name: KIND-BASE, with its kind and base.
_PARTS = {f"{kind}-{base}" if kind else base: (kind, base) for kind, bases in KINDS.items() for base in bases}
MODELS = tuple(_PARTS)


def has_transformers(name: str) -> bool:
    """Whether the model of that name, of `MODELS`, has spatial transformers. ValueError for another name."""
    check_choice("model", name, MODELS)
    return _PARTS[name][0] != ""


def build_model(
    name: str,
    in_shape: Sequence[int],
    num_classes: int,
    *,
    steps: int | None = None,
    transform: Transform | None = None,
    num_transformers: int = 1,
    look: bool = False,
    passes: int | None = None,
    parallel: str = "channels",
    crop: Sequence[int] | None = None,
    leash: float = 1.0,
    window: float = 1.0,
    jitter: float = 0.0,
    samples: int = 10,
    projection: str = "sum",
    dropout: float = 0.0,
    normalize: bool = False,
    parameters: int = 400_000,
    backbone: Callable[[Sequence[int], int], nn.Module] | None = None,
) -> Classifier:
    """A classifier by name.

    Args:
        name: one of `MODELS`: "fcn" and "cnn" are the paper's, "convnet" is smaller and of its time; "st-" puts spatial
            transformers before it, "pst-" a probabilistic one, "2st-" and "4st-" that many side by side, "multi-st-"
            one before each of its first four convolutions. "st-sequence-cnn" and "st-recurrent" are FFN-SPN and RNN-SPN
            of arXiv 1509.05329: one crop of an image for all of its labels, or one for each; "sequence-cnn" is a plain
            network beside them.
        in_shape: `(C, H, W)` of the images; or `(C, D, H, W)` of volumes, which are projected to pictures after the
            transformers.
        num_classes: number of classes.
        steps: T, for sequences of labels: logits are then `[N, T, num_classes]`.
        transform: what theta of the spatial transformers means; affine if None.
        num_transformers: how many follow each other, in the "st-" models; all others are alone.
        look: whether one more comes before them, which shifts to the centroid of a heatmap; see `CentroidLocalization`.
        passes: how often they are gone through, all of them seeing pictures of the crop's size; see `Cascade`. None,
            and 1 without a window, is once, the first of them seeing the whole image at its own size.
        parallel: what becomes of the outputs of transformers side by side. "channels": those of one network; each
            transformer has its own localization network. "crops": each has a network of its own, and they decide
            together; one localization network for all, which starts on tiles of the picture. "shared-crops": the same
            with one network for all crops.
        crop: spatial size of the transformers' output; that of the images if None.
        leash: see `SpatialTransformer`.
        window: of the first transformer, or those side by side; see `SpatialTransformer`. The others start with all
            that it shows.
        jitter: of the last transformer, or those side by side; see `SpatialTransformer`.
        samples: how many maps a probabilistic transformer draws in evaluation.
        projection: how volumes become pictures, one of `PROJECTIONS`.
        dropout: before the last layer of the classifier.
        normalize: whether "fcn" and "cnn", and the localization networks before them, have batch normalisations, which
            the paper's do not.
        parameters: about how many, for the whole of the paper's networks.
        backbone: makes a module from images `(C, H, W)` to that many outputs, for the place of each classification
            network; and for the features of the localization network that places all crops, as in the paper's A.6.

    Raises:
        TypeError, ValueError: for a name that is not known, numbers out of their range, images too small for the
            network, or words that do not go together.
    """
    check_choice("model", name, MODELS)
    check_choice("parallel", parallel, PARALLEL)
    check_choice("projection", projection, PROJECTIONS)
    if not isinstance(in_shape, Sequence) or len(in_shape) not in (3, 4):
        raise ValueError(f"in_shape: wanted (C, H, W) or (C, D, H, W), got {in_shape}")
    check_size(in_shape, len(in_shape), "in_shape")
    check_count("num_classes", num_classes)
    check_count("transformers", num_transformers, 0 if look else 1)
    for word, count in (("steps", steps), ("passes", passes)):
        if count is not None:
            check_count(word, count)
    if crop is not None:
        check_size(crop, len(in_shape) - 1, "crop")
    kind, base = _PARTS[name]
    if base == "recurrent" and steps is None:
        raise ValueError(f"model: wanted sequences of labels for {name}, got one label for each picture")
    several = kind not in ("", "st", "pst") or base == "recurrent"
    if several and (num_transformers, passes, look) != (1, None, False):
        raise ValueError(
            f"transformers, passes, look: wanted 1, None and no look for {name}, got {num_transformers}, {passes}, "
            f"{look}"
        )
    if kind == "pst" and num_transformers == 0:
        raise ValueError(f"transformers: wanted 1 for {name}, which draws its theta, got 0")
    ndim = len(in_shape) - 1
    if several and ndim != 2:
        raise ValueError(f"in_shape: wanted (C, H, W) for {name}, got {tuple(in_shape)}")
    if kind == "multi-st" and backbone is not None:
        raise ValueError(f"backbone: wanted none for {name}, whose transformers are between its own layers")
    transform = Affine(ndim) if transform is None else transform
    crop = tuple(in_shape[1:]) if crop is None else tuple(crop)
    seen = (in_shape[0], *crop)

    transformers: list[SpatialTransformer] = []
    alike = passes is not None and (passes, window) != (1, 1)  # what they see, one and all
    if kind:
        sees = seen if alike else tuple(in_shape)
        families = [*([Translation(ndim)] if look else []), *[transform] * num_transformers]
        for index, family in enumerate(families):
            first, last = index == 0, index == len(families) - 1
            if look and first:
                localization: nn.Module = centroid(sees)
            else:
                localization = localization_network(
                    kind, base, sees, family, parallel=parallel, steps=steps, normalize=normalize, backbone=backbone
                )
            zooms = first and not alike
            how: dict[str, Any] = {"window": window if zooms else 1.0, "jitter": jitter if last else 0.0}
            transformers.append(SpatialTransformer(localization, family, crop, leash=leash, **how))
            sees = seen

    left = parameters - sum(p.numel() for transformer in transformers for p in transformer.parameters())
    count = math.prod(SIDE_BY_SIDE.get(kind, ()))
    each = left // count if parallel == "crops" else left
    make = backbone or partial(
        _network, kind, base, transform=transform, leash=leash, dropout=dropout, normalize=normalize, parameters=each
    )
    # A picture: what is seen of a volume has lost its depth.
    sees = (in_shape[0], *(crop if kind else in_shape[1:])[-2:])
    # One network reads all labels at once, unless there is a crop for each.
    outputs = num_classes if base == "recurrent" else num_classes * (steps or 1)
    if base == "recurrent":
        network = PerMap([make(sees, outputs)])
    elif kind not in SIDE_BY_SIDE:
        network = make(sees, outputs)
    elif parallel == "channels":
        network = network_of_channels(make, count, sees, outputs)
    else:
        network = NetworksOfCrops(make, count, sees, outputs, shared=parallel == "shared-crops")
    if steps is not None and base != "recurrent":
        network = nn.Sequential(network, nn.Unflatten(1, (steps, num_classes)))
    if ndim == 3:
        network = nn.Sequential(Projection(projection), network)
    return Classifier(network, transformers, passes or 1, samples, window=window if alike else 1.0)


def _network(
    kind: str,
    base: str,
    in_shape: Sequence[int],
    outputs: int,
    *,
    transform: Transform,
    leash: float,
    dropout: float,
    normalize: bool,
    parameters: int,
) -> nn.Module:
    """A classification network, for what `kind` of transformers shows it; perhaps with some between its layers."""

    def change(network: nn.Sequential) -> nn.Sequential:
        return insert_transformers(network, in_shape, transform, leash=leash) if kind == "multi-st" else network

    match base:
        case "fcn":
            return fcn(in_shape, outputs, parameters=parameters, dropout=dropout, normalize=normalize)
        case "cnn":
            return cnn(in_shape, outputs, parameters=parameters, dropout=dropout, normalize=normalize, change=change)
        case "lin-cnn":
            return (lin_classifier if kind else lin_cnn)(in_shape, outputs, dropout=dropout)
        case "recurrent":
            return crop_reader(in_shape, outputs, dropout=dropout)
        case "sequence-cnn":
            make = feed_forward_reader if kind else sequence_cnn
            return make(in_shape, outputs, dropout=dropout)
        case _:
            return change(convnet(in_shape, outputs, dropout=dropout))
