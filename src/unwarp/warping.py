"""Image + map -> image: the one choice by kind of map."""

from collections.abc import Sequence

from torch import Tensor

from unwarp.checks import check_image, check_size
from unwarp.maps import Map
from unwarp.sampling import sample


def warp(
    image: Tensor,
    pull: Map,
    size: Sequence[int] | None = None,
    *,
    mode: str = "linear",
    padding: str = "zeros",
    fill: float | Tensor = 0.0,
) -> Tensor:
    """Read an image through a map: the output at p is the image at `pull(p)`.

    Args:
        image: `[N, C, *in]`.
        pull: a map with batch `(N,)`, or `(N, K)` for K outputs of each image, which is not copied. Where either the
            image or the map has N = 1, it serves all of the other.
        size: spatial size of the output; that of the image if None.
        mode: interpolation; see `unwarp.sample`.
        padding: what lies outside the image; see `unwarp.sample`.
        fill: the value outside for `padding="constant"`.

    Returns:
        `[N, C, *size]`, or `[N, K, C, *size]`, of the image's dtype.

    Raises:
        TypeError, ValueError: if image, map and size do not fit together; see also `unwarp.sample`.
    """
    check_image(image)
    if not isinstance(pull, Map):
        raise TypeError(f"pull: wanted an unwarp.Map, got {type(pull).__name__}")
    if pull.ndim != image.ndim - 2:
        raise ValueError(f"pull: wanted a {image.ndim - 2}-D map for image {list(image.shape)}, got {pull.ndim}-D")
    count = image.shape[0]
    if pull.batch[0] != count and 1 not in (pull.batch[0], count):
        raise ValueError(f"pull: wanted {count} maps for image {list(image.shape)}, got batch {pull.batch}")
    size = tuple(image.shape[2:]) if size is None else size
    check_size(size, pull.ndim)

    grid = pull.grid(size)
    if grid.shape[0] != count:
        shared = max(grid.shape[0], count) if 0 not in (grid.shape[0], count) else 0
        image = image.expand(shared, *image.shape[1:])
        grid = grid.expand(shared, *grid.shape[1:])
    return sample(image, grid, mode=mode, padding=padding, fill=fill)
