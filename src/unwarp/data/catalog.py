"""Data sets by name or path."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from unwarp.data.arrays import load_arrays
from unwarp.data.digits import load_digits
from unwarp.data.folder import load_folder
from unwarp.data.mnist import load_mnist
from unwarp.data.pictures import Pictures, Splits

NAMES = ("digits", "mnist")
_FOLDER_SIZE = (48, 48)


def load(
    data: str, *, size: Sequence[int] | None = None, channels: int | None = None, strict: bool = False, seed: int = 0
) -> Splits:
    """The pictures of a data set.

    Args:
        data: one of `NAMES`, a `.npz` file (see `load_arrays`), or a folder (see `load_folder`).
        size: (H, W) to bring the pictures to; their own if None, 48×48 for folders.
        channels: 1 or 3; their own if None.
        strict: see `load_folder`.
        seed: of the validation split.

    Raises:
        ValueError: if it is none of these, or cannot be read.
    """
    if data in NAMES:
        splits = (load_digits if data == "digits" else load_mnist)(seed)
    elif Path(data).suffix == ".npz":
        splits = load_arrays(data, seed=seed)
    elif Path(data).exists():
        return load_folder(data, size=size or _FOLDER_SIZE, channels=channels, strict=strict, seed=seed)
    else:
        raise ValueError(
            f"data: wanted {', '.join(NAMES)}, a .npz file or a folder of pictures; got {data!r}, not found"
        )
    parts = (splits.train, splits.validation, splits.test)
    return Splits(*(_converted(part, size, channels) for part in parts))


def _converted(pictures: Pictures, size: Sequence[int] | None, channels: int | None) -> Pictures:
    images = pictures.images
    if channels is not None and channels != images.shape[1]:
        images = images.expand(-1, 3, -1, -1) if channels == 3 else _grey(images)
    if size is not None and tuple(size) != tuple(images.shape[2:]):
        images = F.interpolate(images.float(), tuple(size), mode="bilinear", antialias=True)
        images = images.round().clamp(0, 255).byte()
    return Pictures(images, pictures.labels, pictures.classes, pictures.names)


def _grey(images: Tensor) -> Tensor:
    # Luma of ITU-R BT.601, as Pillow converts.
    weights = torch.tensor([0.299, 0.587, 0.114])
    return (images.float() * weights[:, None, None]).sum(1, keepdim=True).round().byte()
