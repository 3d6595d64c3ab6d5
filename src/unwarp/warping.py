"""Image + map -> image: the one choice by kind of map."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unwarp.checks import check_image, check_size
from unwarp.coordinates import identity_grid
from unwarp.maps import LinearMap, Map
from unwarp.sampling import check_same_device, footprints_of_map, sample_at


def warp(
    image: Tensor,
    pull: Map,
    size: Sequence[int] | None = None,
    *,
    mode: str = "linear",
    padding: str | Sequence[str] = "zeros",
    fill: float | Tensor = 0.0,
    antialias: bool = False,
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
        antialias: where the map shrinks the image, take the mean over what each output pixel covers, found from the
            map's Jacobian. Takes about as long as warping to the size of what is read. Shrinking by more than 64 in
            2-D, or 16 in 3-D, leaves gaps.

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

    if isinstance(pull, LinearMap) and not antialias:
        linear, coordinates = True, pull.matrix
    else:
        linear, coordinates = False, _places(pull, size, antialias)
    check_same_device("pull", coordinates, image)
    shared = coordinates.shape[0] if count == 1 else count
    if pull.batch[0] != shared:
        coordinates = coordinates.expand(shared, *coordinates.shape[1:])
    coordinates = coordinates.flatten(0, len(pull.batch) - 1)
    values = sample_at(image, coordinates, size, linear=linear, mode=mode, padding=padding, fill=fill)
    return values.unflatten(0, (shared, *pull.batch[1:])) if len(pull.batch) > 1 else values


def inside_mask(
    pull: Map, in_size: Sequence[int], size: Sequence[int] | None = None, *, antialias: bool = False
) -> Tensor:
    """How much of each sample of a warp lies in the image: 1 inside, 0 outside, between them at its border.

    Args:
        pull: a map with batch `(N,)` or `(N, K)`.
        in_size: spatial size of the image.
        size: spatial size of the output; that of the image if None.
        antialias: as in `warp`.

    Returns:
        `[N, 1, *size]`, or `[N, K, 1, *size]`, of the map's dtype; differentiable.

    Raises:
        TypeError, ValueError: as `warp`.
    """
    if not isinstance(pull, Map):
        raise TypeError(f"pull: wanted an unwarp.Map, got {type(pull).__name__}")
    check_size(in_size, pull.ndim)
    one = torch.ones(1, dtype=pull.dtype, device=pull.device)
    return warp(one.expand(pull.batch[0], 1, *in_size), pull, size, antialias=antialias)


def _places(pull: Map, size: Sequence[int], antialias: bool) -> Tensor:
    """The map's grid `[*batch, Q, D]`, or its footprints `[*batch, Q, D, D+1]`."""
    axes = len(pull.batch)
    grid = pull.grid(size)
    if not antialias:
        return grid.flatten(axes, -2)
    points = identity_grid(size, dtype=pull.dtype, device=pull.device)
    jacobian = pull.jacobian(points.reshape(*(1 for _ in pull.batch), *size, pull.ndim))
    return footprints_of_map(grid, jacobian.expand(*grid.shape, pull.ndim), size).flatten(axes, -3)
