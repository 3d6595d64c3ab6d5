"""Which localization network the first spatial transformers of a model have."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from unwarp.models.lin import lin_localization
from unwarp.models.multi import small_localization
from unwarp.models.side_by_side import SIDE_BY_SIDE
from unwarp.models.sonderby import feed_forward_localization, recurrent_localization
from unwarp.nn import (
    Localization,
    ParallelLocalization,
    ProbabilisticLocalization,
    convolutional,
    fully_connected,
    tiles,
)
from unwarp.transforms import Transform

# That a network of the user's own hands to the layer of theta; the paper's A.6 has as many.
_FEATURES = 128


def localization_network(
    kind: str,
    base: str,
    in_shape: Sequence[int],
    transform: Transform,
    *,
    parallel: str = "channels",
    steps: int | None = None,
    normalize: bool = False,
    backbone: Callable[[Sequence[int], int], nn.Module] | None = None,
) -> nn.Module:
    """From images to theta `[N, P]`; side by side `[N, K, P]`, one crop after the other `[N, T, P]`.

    Args:
        kind: how the transformers of the model stand; see `KINDS`.
        base: its classification network; a localization network is built alike.
        in_shape: `(C, *in)` of what it sees.
        transform: what theta means.
        parallel: see `build_model`.
        steps: T, for the base "recurrent".
        normalize: whether those of the bases "fcn" and "cnn" have batch normalisations; that of "convnet" has them.
        backbone: see `build_model`.
    """
    if kind == "multi-st":
        return small_localization(in_shape, transform)
    single = partial(_single, base, in_shape, transform, normalize=normalize)
    if kind == "pst":
        return ProbabilisticLocalization(single())
    if kind not in SIDE_BY_SIDE:
        return single(steps=steps)
    counts = SIDE_BY_SIDE[kind]
    if parallel == "channels":
        return ParallelLocalization([single() for _ in range(math.prod(counts))])
    start = tiles(transform, counts)
    if backbone is None:
        return single(start=start)
    return Localization(nn.Sequential(backbone(in_shape, _FEATURES), nn.ReLU()), _FEATURES, transform, start=start)


def _single(
    base: str,
    in_shape: Sequence[int],
    transform: Transform,
    *,
    normalize: bool,
    start: Tensor | None = None,
    steps: int | None = None,
) -> Localization:
    match base:
        case "fcn":
            return fully_connected(in_shape, transform, normalize=normalize, start=start)
        case "cnn":
            return convolutional(in_shape, transform, normalize=normalize, start=start)
        case "lin-cnn":
            return lin_localization(in_shape, transform)
        case "sequence-cnn":
            return feed_forward_localization(in_shape, transform)
        case "recurrent":
            assert steps is not None
            return recurrent_localization(in_shape, transform, steps)
        case _:
            # In a volume the cube of 3 has a fifth of the work.
            kernel = 5 if len(in_shape) == 3 else 3
            widths = {"channels": (16, 32), "hidden": 32}
            return convolutional(in_shape, transform, kernel=kernel, normalize=True, start=start, **widths)
