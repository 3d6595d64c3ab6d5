"""Pictures that are added up: several in one, each in channels of its own, labelled with the sum of their numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unwarp.checks import check_image, check_positive


def draw_addends(images: Tensor, labels: Tensor, addends: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each picture of a batch together with others of it, drawn at random (MNIST addition, arXiv 1506.02025).

    Every picture is as often the first as it is the second, the third, ...; now and then it meets itself.

    Args:
        images: `[N, C, H, W]`.
        labels: `[N]`, the numbers they show.
        addends: how many pictures are added up, A.
        generator: on the device of the images.

    Returns:
        Pictures `[N, A, C, H, W]`, the first of each row as they came, and the sums `[N]` of their labels.

    Raises:
        TypeError, ValueError: for what are no pictures, or another number of labels.
    """
    check_image(images, "images")
    check_positive("addends", addends)
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels: wanted one for each of {len(images)} pictures, got {list(labels.shape)}")
    count = len(images)
    others = [torch.randperm(count, generator=generator, device=images.device) for _ in range(addends - 1)]
    rows = torch.stack([torch.arange(count, device=images.device), *others], dim=1)
    return images[rows], labels[rows].sum(1)


def sum_classes(classes: Sequence[str], addends: int) -> tuple[str, ...]:
    """The names of the sums of numbers `classes`, which have to be "0", "1", ...: those from 0 to the largest sum.

    Raises:
        ValueError: for classes that are no numbers, or leave one out.
    """
    numbers = tuple(str(number) for number in range(len(classes)))
    if tuple(classes) != numbers:
        raise ValueError(f"addends: wanted classes {', '.join(numbers)} to add up, got {', '.join(classes)}")
    return tuple(str(total) for total in range(addends * (len(classes) - 1) + 1))
