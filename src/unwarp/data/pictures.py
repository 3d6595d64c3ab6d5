"""Labelled pictures in memory, and how they are split."""

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures of one size.

    Attributes:
        images: `[N, C, H, W]` uint8.
        labels: `[N]` int64, indices into `classes`.
        classes: names of the classes.
        names: one for each picture: its relative path, or a running number.

    Raises:
        ValueError: if these do not fit together.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images: wanted uint8 [N, C, H, W], got {self.images.dtype} {list(self.images.shape)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels: wanted int64 [{len(self.images)}], got {self.labels.dtype} {list(self.labels.shape)}"
            )
        if len(self.names) != len(self.images):
            raise ValueError(f"names: wanted {len(self.images)}, got {len(self.names)}")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise ValueError(
                f"labels: wanted 0 to {len(self.classes) - 1}, got {int(self.labels.min())} to {int(self.labels.max())}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, rows: Tensor) -> "Pictures":
        """The pictures at these row numbers `[M]`, in that order."""
        names = tuple(self.names[row] for row in rows.tolist())
        return Pictures(self.images[rows], self.labels[rows], self.classes, names)


@dataclass(frozen=True)
class Splits:
    """Pictures to learn from, to choose by, and to measure with once at the end; all with the same classes."""

    train: Pictures
    validation: Pictures
    test: Pictures


def split_off(pictures: Pictures, fraction: float, seed: int = 0) -> tuple[Pictures, Pictures]:
    """Split into (rest, part): `fraction` of every class, at least one picture of each on both sides.

    The same seed gives the same split.

    Raises:
        ValueError: for a fraction that is not between 0 and 1, or a class of a single picture.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: wanted a number between 0 and 1, got {fraction}")
    generator = torch.Generator().manual_seed(seed)
    rest, part = [], []
    for label, name in enumerate(pictures.classes):
        rows = torch.nonzero(pictures.labels == label).flatten()
        if len(rows) == 0:
            continue
        if len(rows) == 1:
            raise ValueError(f"pictures: wanted at least two of each class to split them, got one of {name!r}")
        rows = rows[torch.randperm(len(rows), generator=generator)]
        # Exact arithmetic: 0.1 of 30 pictures is 3 on every machine.
        count = round(Fraction(str(fraction)) * len(rows))
        count = min(max(count, 1), len(rows) - 1)
        part.append(rows[:count])
        rest.append(rows[count:])
    return tuple(pictures.subset(torch.cat(rows).sort().values) for rows in (rest, part))  # pyright: ignore[reportReturnType]
