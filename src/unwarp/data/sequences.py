"""Sequences of digits: side by side along a slope, among clutter (Sønderby et al. 2015, arXiv 1509.05329)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unwarp.checks import check_positive, check_size
from unwarp.data.clutter import cut_patches
from unwarp.data.mnist import load_mnist
from unwarp.data.pictures import Pictures, Splits

_VALIDATION = 10_000
_COUNTS = (60_000, 10_000, 10_000)
_CHUNK = 1000


def load_mnist_sequences(seed: int = 0) -> Splits:
    """60,000 training, 10,000 validation and 10,000 test pictures of 100×100 with three digits of MNIST each.

    The digits are drawn from 50,000, 10,000 and 10,000 different ones, the patches of clutter from the first two. The
    published sets take the first 50,000 and the last 10,000 of MNIST's training digits; here they are split by `seed`,
    the same share of each digit.

    Args:
        seed: of the split, and of all that is drawn.

    Raises:
        ValueError, OSError: as `load_mnist`.
    """
    digits = load_mnist(validation=_VALIDATION, seed=seed)
    bank = torch.cat([digits.train.images, digits.validation.images])
    generator = torch.Generator().manual_seed(seed)
    parts = [
        draw_sequences(part, count, bank=bank, generator=generator)
        for part, count in zip((digits.train, digits.validation, digits.test), _COUNTS, strict=True)
    ]
    return Splits(*parts)


def draw_sequences(
    digits: Pictures,
    count: int,
    *,
    bank: Tensor,
    generator: torch.Generator,
    steps: int = 3,
    size: Sequence[int] = (100, 100),
    patches: int = 8,
    patch_size: int = 9,
) -> Pictures:
    """Pictures with a sequence of digits each, by the rules of the published generator.

    The digits, drawn with replacement, stand side by side without a gap, from the left edge at the earliest to the
    right edge at the latest. The first is at any height; each is a slope, of up to half a digit, lower than the one
    before, but kept inside the picture. The patches overwrite each other on an empty canvas, the digits are added, and
    the sum is cut off at white.

    Args:
        digits: `[M, C, h, w]`, with one label each.
        count: how many pictures.
        bank: uint8 `[B, C, h', w']`, pictures to cut patches from.
        generator: of all that is drawn.
        steps: T, digits per picture.
        size: (H, W) of the pictures.
        patches: of clutter, in each picture.
        patch_size: their width and height.

    Returns:
        Pictures with labels `[count, T]`, from left to right.

    Raises:
        ValueError: if the digits do not fit into the pictures, or the patches into these or the bank's.
    """
    check_positive("count", count)
    check_positive("steps", steps)
    check_size(size, 2)
    height, width = digits.images.shape[2:]
    if size[0] < height or size[1] < steps * width:
        raise ValueError(f"size: wanted room for {steps} digits of {height}×{width}, got {tuple(size)}")
    chosen = torch.randint(len(digits), (count, steps), generator=generator)
    images = [
        _draw(digits.images[rows], bank, generator, size=size, patches=patches, patch_size=patch_size)
        for rows in chosen.split(_CHUNK)
    ]
    names = tuple("+".join(digits.names[row] for row in rows) for rows in chosen.tolist())
    return Pictures(torch.cat(images), digits.labels[chosen], digits.classes, names)


def _draw(
    digits: Tensor, bank: Tensor, generator: torch.Generator, *, size: Sequence[int], patches: int, patch_size: int
) -> Tensor:
    """Pictures `[N, C, *size]` of `digits [N, T, C, h, w]`."""
    count, steps, channels, height, width = digits.shape

    def draw(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (count, 1, 1), generator=generator)

    canvas = torch.zeros(count, channels, *size, dtype=torch.uint8)
    # The published generator leaves the last row and column of places out, in the digits and in the pictures.
    places = cut_patches(
        count,
        [extent - 1 for extent in size],
        bank[:, :, :-1, :-1],
        patches=patches,
        patch_size=patch_size,
        generator=generator,
    )
    for (rows, y, x), patch in places:
        canvas[rows, :, y, x] = patch
    margin = (size[1] - steps * width) // 2
    left = margin + draw(-margin, max(margin, 1))
    top, slope = draw(0, size[0]), draw(-width // 2, width // 2)
    written = torch.zeros_like(canvas)
    rows = torch.arange(count)[:, None, None]
    for step in range(steps):
        y = (top + step * slope).clamp(0, size[0] - height) + torch.arange(height)[:, None]
        x = left + step * width + torch.arange(width)
        written[rows, :, y, x] = digits[:, step].permute(0, 2, 3, 1)
    return (canvas.short() + written).clamp_max(255).byte()
