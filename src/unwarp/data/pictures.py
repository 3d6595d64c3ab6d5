"""Labelled pictures in memory, and how they are split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unwarp.checks import check_size, check_tensor

# Weights of red, green and blue in grey (ITU-R BT.601), as Pillow's.
_LUMA = (0.299, 0.587, 0.114)
_CHUNK = 1000
CHANNELS = (1, 3)


@dataclass(frozen=True, eq=False)
class Pictures:
    """One or more labelled pictures of one size.

    Attributes:
        images: `[N, C, H, W]` uint8.
        labels: `[N]` int64, rows of `classes`; or `[N, T]`, a sequence of them for each picture.
        classes: names of the classes, each once.
        names: of the pictures: a relative path, or an array and the row in it, as in "train/123".

    Raises:
        ValueError: if these do not fit together.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_tensor("images", self.images)
        check_tensor("labels", self.labels)
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape:
            raise ValueError(f"images: wanted uint8 [N, C, H, W], none empty; got {_described(images)}")
        if (
            labels.dtype != torch.int64
            or labels.ndim not in (1, 2)
            or labels.shape[0] != len(images)
            or 0 in labels.shape
        ):
            raise ValueError(f"labels: wanted int64 [{len(images)}] or [{len(images)}, T], got {_described(labels)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes: wanted each name once, got {', '.join(self.classes)}")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(self.classes):
            raise ValueError(f"labels: wanted 0 to {len(self.classes) - 1}, a row of classes; got {low} to {high}")
        if len(self.names) != len(images):
            raise ValueError(f"names: wanted {len(images)}, one for each picture; got {len(self.names)}")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Sequence[int] | Tensor) -> "Pictures":
        """The pictures at these rows, in this order. ValueError for no rows, or rows that are not there."""
        rows = torch.as_tensor(indices)
        if rows.dtype == torch.bool or rows.is_floating_point() or rows.ndim != 1 or not len(rows):
            raise ValueError(f"indices: wanted a list of one or more rows, got {_described(rows)}")
        if rows.min() < 0 or rows.max() >= len(self):
            raise ValueError(f"indices: wanted rows 0 to {len(self) - 1}, got {int(rows.min())} to {int(rows.max())}")
        names = tuple(self.names[row] for row in rows.tolist())
        return replace(self, images=self.images[rows], labels=self.labels[rows], names=names)

    def resized(self, size: tuple[int, int]) -> "Pictures":
        """The pictures in `size` (H, W), antialiased bicubic, without keeping the aspect ratio."""
        check_size(size, 2)
        if tuple(self.images.shape[2:]) == tuple(size):
            return self

        def resize(images: Tensor) -> Tensor:
            return F.interpolate(images, tuple(size), mode="bicubic", antialias=True, align_corners=False)

        return replace(self, images=_in_floats(self.images, resize))

    def with_channels(self, channels: int) -> "Pictures":
        """The pictures in grey (1) or in red, green and blue (3). ValueError unless they are one of these."""
        check_channels(channels)
        have = self.images.shape[1]
        if have not in CHANNELS:
            raise ValueError(f"images: wanted 1 or 3 channels to convert, got {have}")
        if have == channels:
            return self
        if channels == 3:
            return replace(self, images=self.images.repeat(1, 3, 1, 1))
        weights = torch.tensor(_LUMA).view(1, 3, 1, 1)
        return replace(self, images=_in_floats(self.images, lambda images: (images * weights).sum(1, keepdim=True)))


@dataclass(frozen=True, eq=False)
class Splits:
    """Pictures to learn from, to choose by and to measure on. ValueError unless classes and shapes are the same."""

    train: Pictures
    validation: Pictures
    test: Pictures

    def __post_init__(self) -> None:
        for name, part in (("validation", self.validation), ("test", self.test)):
            if part.classes != self.train.classes:
                raise ValueError(f"{name}: wanted the classes of train, {self.train.classes}; got {part.classes}")
            for what in ("images", "labels"):
                have, wanted = (list(getattr(pictures, what).shape[1:]) for pictures in (part, self.train))
                if have != wanted:
                    raise ValueError(f"{name}: wanted {what} {wanted} like those of train, got {have}")

    @property
    def steps(self) -> int | None:
        """T, the length of the sequences of labels; None if each picture has one label."""
        return self.train.labels.shape[1] if self.train.labels.ndim == 2 else None


def split_off(pictures: Pictures, fraction: float, seed: int) -> tuple[Pictures, Pictures]:
    """Split into (rest, part), `fraction` of every class in the part; both keep the order of the pictures.

    A class of two or more pictures keeps at least one on each side, that of a single one stays in the rest; but for
    that, the part has `round(fraction * len(pictures))` pictures. The same seed gives the same split.

    Raises:
        ValueError: for a fraction that is not between 0 and 1, pictures of which no class has two, or sequences of
            labels.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: wanted a number between 0 and 1, got {fraction}")
    if pictures.labels.ndim > 1:
        raise ValueError(f"labels: wanted [N] to split them by class, got {_described(pictures.labels)}")
    counts = _class_counts(pictures)
    shares = _shares(counts, fraction)
    if not shares.any():
        raise ValueError(f"pictures: wanted a class with two or more to split them, got {len(pictures)} pictures")
    shuffled = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    order = shuffled[pictures.labels[shuffled].argsort(stable=True)]
    labels = pictures.labels[order]
    rank_in_class = torch.arange(len(order)) - (counts.cumsum(0) - counts)[labels]
    in_part = torch.empty(len(order), dtype=torch.bool)
    in_part[order] = rank_in_class < shares[labels]
    return pictures.subset((~in_part).nonzero().flatten()), pictures.subset(in_part.nonzero().flatten())


def few_of_each(pictures: Pictures, count: int, seed: int) -> Pictures:
    """`count` of the pictures, as many of each class as there can be; in their order, chosen by `seed`.

    Classes differ by more than one only where they have no more pictures; which ones are ahead by one is chance.

    Raises:
        ValueError: for a count under 1, or over that of the pictures, or for sequences of labels.
    """
    if pictures.labels.ndim > 1:
        raise ValueError(f"labels: wanted [N] to choose by class, got {_described(pictures.labels)}")
    if not 1 <= count <= len(pictures):
        raise ValueError(f"labels: wanted 1 to {len(pictures)}, the number of pictures; got {count}")
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    # In turns: the first picture of every class, the second of every class, ...
    labels = pictures.labels[order]
    turn = torch.empty_like(order)
    for label in labels.unique():
        members = labels == label
        turn[members] = torch.arange(int(members.sum()))
    chosen = order[turn.argsort(stable=True)[:count]]
    return pictures.subset(chosen.sort().values)


def complete_splits(
    train: Pictures,
    validation: Pictures | None,
    test: Pictures | None,
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> Splits:
    """All three parts: those that are None are split off the training pictures, stratified.

    The fractions are of the training pictures given.

    Raises:
        ValueError: if there are fewer than two classes, a class is too small to be in every part, the fractions
            leave nothing to learn from, or parts are missing of pictures with sequences of labels.
    """
    if len(train.classes) < 2:
        raise ValueError(f"classes: wanted two or more, got {', '.join(train.classes)}")
    fractions = {"validation": (validation, validation_fraction), "test": (test, test_fraction)}
    to_split = {name: fraction for name, (part, fraction) in fractions.items() if part is None}
    for name, fraction in to_split.items():
        if not 0 < fraction < 1:
            raise ValueError(f"{name}: wanted a fraction between 0 and 1, got {fraction}")
    if sum(to_split.values()) >= 1:
        raise ValueError(f"validation, test: wanted fractions that leave training pictures, got {to_split}")
    wanted = 1 + len(to_split)
    for label, count in enumerate(_class_counts(train).tolist()):
        if count < wanted:
            raise ValueError(
                f"class {train.classes[label]!r}: wanted {wanted} or more training pictures, as "
                f"{' and '.join(to_split) or 'nothing'} must be split off them; got {count}; "
                "add pictures, leave the class out or provide the parts yourself"
            )
    rest = train
    if test is None:
        rest, test = split_off(rest, test_fraction, seed)
    if validation is None:
        rest, validation = split_off(rest, validation_fraction * len(train) / len(rest), seed)
    return Splits(rest, validation, test)


def check_channels(channels: Any) -> None:
    """Raise ValueError unless `channels` is 1 or 3."""
    if channels not in CHANNELS:
        raise ValueError(f"channels: wanted 1 for grey or 3 for colour, got {channels!r}")


def _class_counts(pictures: Pictures) -> Tensor:
    return torch.bincount(pictures.labels.flatten(), minlength=len(pictures.classes))


def _shares(counts: Tensor, fraction: float) -> Tensor:
    """How many of each class are taken: the largest remainders are rounded up until the sum is right."""
    quotas = counts.double() * fraction
    shares = quotas.floor().long()
    missing = round(fraction * int(counts.sum())) - int(shares.sum())
    shares[(quotas - shares).argsort(descending=True, stable=True)[:missing]] += 1
    return shares.maximum((counts >= 2).long()).minimum((counts - 1).clamp(min=0))


def _in_floats(images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of the images in float32, rounded back to uint8, a chunk at a time to spare memory."""
    return torch.cat([function(chunk.float()).round().clamp(0, 255).byte() for chunk in images.split(_CHUNK)])


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
