"""Image + map -> image: the one choice by kind of map."""

from collections.abc import Sequence

from torch import Tensor

from unwarp.checks import check_image, check_size
from unwarp.maps import LinearMap, Map
from unwarp.sampling import check_same_device, sample_at


def warp(
    image: Tensor,
    pull: Map,
    size: Sequence[int] | None = None,
    *,
    mode: str = "linear",
    padding: str | Sequence[str] = "zeros",
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

    linear = isinstance(pull, LinearMap)
    coordinates = pull.matrix if linear else pull.grid(size).flatten(len(pull.batch), -2)
    check_same_device("pull", coordinates, image)
    shared = coordinates.shape[0] if count == 1 else count
    if pull.batch[0] != shared:
        coordinates = coordinates.expand(shared, *coordinates.shape[1:])
    coordinates = coordinates.flatten(0, len(pull.batch) - 1)
    values = sample_at(image, coordinates, size, linear=linear, mode=mode, padding=padding, fill=fill)
    return values.unflatten(0, (shared, *pull.batch[1:])) if len(pull.batch) > 1 else values
