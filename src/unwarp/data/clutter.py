"""Clutter: small patches of other pictures at random places."""

import torch
from torch import Tensor

from unwarp.checks import check_image, check_positive


def add_clutter(images: Tensor, bank: Tensor, *, patches: int, patch_size: int, generator: torch.Generator) -> Tensor:
    """`images [N, C, H, W]` with `patches` square cuttings of the `bank [M, C, h, w]` in each, joined by the maximum.

    The places of the cuttings, in the bank's pictures and in the images, are uniform (arXiv 1506.02025, A.4).

    Raises:
        ValueError: if a patch does not fit into the images or the bank's pictures.
    """
    check_image(images)
    check_image(bank, "bank")
    check_positive("patches", patches, allow_zero=True)
    room = min(*images.shape[2:], *bank.shape[2:])
    if not 1 <= patch_size <= room:
        raise ValueError(f"patch_size: wanted 1 to {room}, the smallest extent of images and bank, got {patch_size}")
    result = images.clone()
    rows = torch.arange(images.shape[0], device=images.device)[:, None, None]
    for _ in range(patches):
        source = _draw(bank.shape[0], rows, generator)
        from_y, from_x = _window(bank.shape[2:], patch_size, rows, generator)
        to_y, to_x = _window(images.shape[2:], patch_size, rows, generator)
        patch = bank[source, :, from_y, from_x].to(images.dtype)
        result[rows, :, to_y, to_x] = torch.maximum(result[rows, :, to_y, to_x], patch)
    return result


def _draw(limit: int, rows: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(limit, rows.shape, generator=generator, device=rows.device)


def _window(size: torch.Size, extent: int, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    steps = torch.arange(extent, device=rows.device)
    top = _draw(size[0] - extent + 1, rows, generator)
    left = _draw(size[1] - extent + 1, rows, generator)
    return top + steps[:, None], left + steps
