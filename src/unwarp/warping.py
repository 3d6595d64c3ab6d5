"""Image + map -> image: the one choice by kind of map."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unwarp.checks import check_image, check_size, check_tensor
from unwarp.maps import LinearMap, Map, check_map
from unwarp.sampling import check_same_device, footprints_of_map, sample_adjoint_at, sample_at


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
    check_map("pull", pull)
    if pull.ndim != image.ndim - 2:
        raise ValueError(f"pull: wanted a {image.ndim - 2}-D map for image {list(image.shape)}, got {pull.ndim}-D")
    count = image.shape[0]
    if pull.batch[0] != count and 1 not in (pull.batch[0], count):
        raise ValueError(f"pull: wanted {count} maps for image {list(image.shape)}, got batch {pull.batch}")
    size = tuple(image.shape[2:]) if size is None else size
    check_size(size, pull.ndim)

    shared = pull.batch[0] if count == 1 else count
    linear, coordinates = _coordinates(pull, size, antialias, shared)
    check_same_device("pull", coordinates, image)
    values = sample_at(image, coordinates, size, linear=linear, mode=mode, padding=padding, fill=fill)
    return values.unflatten(0, (shared, *pull.batch[1:])) if len(pull.batch) > 1 else values


def warp_adjoint(
    values: Tensor,
    pull: Map,
    in_size: Sequence[int],
    *,
    mode: str = "linear",
    padding: str | Sequence[str] = "zeros",
    antialias: bool = False,
) -> Tensor:
    """The transpose of `warp`: what lies at p is given to the pixels that `warp` would have read at `pull(p)`.

    For every image `(warp(image, pull, size) * values).sum()` is `(image * warp_adjoint(values, pull, in_size)).sum()`.
    What several samples give to a pixel is added up; for the mean of it, divide by that of ones.

    Args:
        values: `[N, C, *size]`, or `[N, K, C, *size]` for K maps, whose gifts to an image are added up; floating.
        pull: a map with batch `(N,)` or `(N, K)`; N = 1 serves all.
        in_size: spatial size of the result.
        mode: as in `warp`.
        padding: as in `warp`; what is given outside "zeros" and "constant" leave out.
        antialias: as in `warp`.

    Returns:
        `[N, C, *in_size]`, of the dtype of the values; differentiable in values and map.

    Raises:
        TypeError, ValueError: if values, map and size do not fit together; see also `unwarp.sample`.
    """
    check_map("pull", pull)
    check_tensor("values", values)
    axes = len(pull.batch)
    if values.ndim != axes + 1 + pull.ndim or values.shape[1:axes] != pull.batch[1:]:
        wanted = ", ".join(("N", *map(str, pull.batch[1:]), "C", "*size"))
        raise ValueError(f"values: wanted [{wanted}] of a {pull.ndim}-D map, got {list(values.shape)}")
    if pull.batch[0] not in (1, values.shape[0]):
        raise ValueError(f"pull: wanted {values.shape[0]} maps for values {list(values.shape)}, got batch {pull.batch}")
    if not values.is_floating_point():
        raise TypeError(f"values: wanted a floating dtype, got {values.dtype}")
    given = values.flatten(0, axes - 1)
    check_image(given, "values")
    check_size(in_size, pull.ndim, "in_size")
    count, size = values.shape[0], given.shape[2:]
    linear, coordinates = _coordinates(pull, size, antialias, count)
    check_same_device("pull", coordinates, values)
    like = values.new_empty((count, given.shape[1], *in_size))
    return sample_adjoint_at(given, coordinates, like, linear=linear, mode=mode, padding=padding)


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
    check_map("pull", pull)
    check_size(in_size, pull.ndim, "in_size")
    one = torch.ones(1, dtype=pull.dtype, device=pull.device)
    return warp(one.expand(pull.batch[0], 1, *in_size), pull, size, antialias=antialias)


def _coordinates(pull: Map, size: Sequence[int], antialias: bool, count: int) -> tuple[bool, Tensor]:
    """Whether they are matrices, and the coordinates of all maps of `count` images, in one batch axis."""
    if isinstance(pull, LinearMap) and not antialias:
        linear, coordinates = True, pull.matrix
    else:
        linear, coordinates = False, _places(pull, size, antialias)
    if pull.batch[0] != count:
        coordinates = coordinates.expand(count, *coordinates.shape[1:])
    return linear, coordinates.flatten(0, len(pull.batch) - 1)


def _places(pull: Map, size: Sequence[int], antialias: bool) -> Tensor:
    """The map's grid `[*batch, Q, D]`, or its footprints `[*batch, Q, D, D+1]`."""
    axes = len(pull.batch)
    grid = pull.grid(size)
    if not antialias:
        return grid.flatten(axes, -2)
    jacobian = pull.jacobian(pull.centers(size))
    return footprints_of_map(grid, jacobian.expand(*grid.shape, pull.ndim), size).flatten(axes, -3)
