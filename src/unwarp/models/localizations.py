"""Which localization network the first spatial transformers of a model have."""

import math
from collections.abc import Sequence

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


def localization_network(
    kind: str,
    base: str,
    in_shape: Sequence[int],
    transform: Transform,
    *,
    parallel: str = "channels",
    steps: int | None = None,
) -> nn.Module:
    """From images to theta `[N, P]`; side by side `[N, K, P]`, one crop after the other `[N, T, P]`.

    Args:
        kind: how the transformers of the model stand; see `KINDS`.
        base: its classification network; a localization network is built alike.
        in_shape: `(C, *in)` of what it sees.
        transform: what theta means.
        parallel: see `build_model`.
        steps: T, for the base "recurrent".
    """
    if kind == "multi-st":
        return small_localization(in_shape, transform)
    if kind == "pst":
        return ProbabilisticLocalization(_single(base, in_shape, transform))
    if kind not in SIDE_BY_SIDE:
        return _single(base, in_shape, transform, steps=steps)
    counts = SIDE_BY_SIDE[kind]
    if parallel == "channels":
        return ParallelLocalization([_single(base, in_shape, transform) for _ in range(math.prod(counts))])
    return _single(base, in_shape, transform, start=tiles(transform, counts))


def _single(
    base: str, in_shape: Sequence[int], transform: Transform, *, start: Tensor | None = None, steps: int | None = None
) -> Localization:
    match base:
        case "fcn":
            return fully_connected(in_shape, transform, start=start)
        case "cnn":
            return convolutional(in_shape, transform, start=start)
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
