"""Clutter: small patches of other pictures at random places."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unwarp.checks import check_image, check_positive


def add_clutter(images: Tensor, bank: Tensor, *, patches: int, patch_size: int, generator: torch.Generator) -> Tensor:
    """`images [N, C, H, W]` with `patches` square cuttings of the `bank [M, C, h, w]` in each, joined by the maximum.

    The places of the cuttings, in the bank's pictures and in the images, are uniform (arXiv 1506.02025, A.4).

    Raises:
        ValueError: if a patch does not fit into the images or the bank's pictures, or the bank has others than
            these: of another range of values (float32 in 0..1, uint8 to 255) or number of channels.
    """
    check_image(images)
    check_image(bank, "bank")
    if (images.is_floating_point(), images.shape[1]) != (bank.is_floating_point(), bank.shape[1]):
        raise ValueError(
            f"bank: wanted pictures like the images, {images.dtype} with {images.shape[1]} channels, "
            f"got {bank.dtype} with {bank.shape[1]}"
        )
    result = images.clone()
    cuttings = cut_patches(
        images.shape[0], images.shape[2:], bank, patches=patches, patch_size=patch_size, generator=generator
    )
    for (rows, y, x), patch in cuttings:
        result[rows, :, y, x] = torch.maximum(result[rows, :, y, x], patch.to(images.dtype))
    return result


def cut_patches(
    count: int, size: Sequence[int], bank: Tensor, *, patches: int, patch_size: int, generator: torch.Generator
) -> Iterator[tuple[tuple[Tensor, Tensor, Tensor], Tensor]]:
    """Square cuttings of the `bank [M, C, h, w]` and places for them in `count` images of `size` (H, W), all uniform.

    Yields:
        `patches` times `(rows, y, x)` and a patch for each image `[count, patch_size, patch_size, C]`, so that
        `images[rows, :, y, x] = patch` pastes them.

    Raises:
        ValueError: if a patch does not fit into the images or the bank's pictures.
    """
    check_image(bank, "bank")
    if len(bank) == 0:
        raise ValueError("bank: wanted at least one picture, got none")
    check_positive("patches", patches, allow_zero=True)
    room = min(*size, *bank.shape[2:])
    if not 1 <= patch_size <= room:
        raise ValueError(f"patch_size: wanted 1 to {room}, the smallest extent of images and bank, got {patch_size}")
    rows = torch.arange(count, device=bank.device)[:, None, None]
    for _ in range(patches):
        source = _draw(bank.shape[0], rows, generator)
        from_y, from_x = _window(bank.shape[2:], patch_size, rows, generator)
        to_y, to_x = _window(size, patch_size, rows, generator)
        yield (rows, to_y, to_x), bank[source, :, from_y, from_x]


def _draw(limit: int, rows: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(limit, rows.shape, generator=generator, device=rows.device)


def _window(size: Sequence[int], extent: int, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    steps = torch.arange(extent, device=rows.device)
    top = _draw(size[0] - extent + 1, rows, generator)
    left = _draw(size[1] - extent + 1, rows, generator)
    return top + steps[:, None], left + steps
