"""Pictures from a NumPy archive."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unwarp.data.pictures import Pictures, Splits, split_off


def load_arrays(path: str | Path, *, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Splits:
    """Pictures of an `.npz` file with arrays `x_train`, `y_train`, and `_val` and `_test` of them if you have.

    Instead of `x_train`, `y_train` they may be named `x`, `y`. Images are `[N, H, W]`, `[N, H, W, C]` or
    `[N, C, H, W]`, C 1 or 3, uint8 or floating in 0..1; labels are integers from 0. `classes`, an array of strings, may
    name the classes. A part that is missing is split off the training pictures, stratified.

    Raises:
        ValueError: naming file and array, for anything else.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: wanted a .npz file of plain arrays, got {error}") from error
    main = "train" if "x_train" in arrays else ""
    parts: dict[str, tuple[Tensor, Tensor]] = {}
    for part in (main, "val", "test"):
        suffix = f"_{part}" if part else ""
        have = [name in arrays for name in (f"x{suffix}", f"y{suffix}")]
        if all(have):
            images = _images(arrays[f"x{suffix}"], f"{path}: x{suffix}")
            parts[part or "train"] = images, _labels(arrays[f"y{suffix}"], len(images), f"{path}: y{suffix}")
        elif any(have) or part == main:
            raise ValueError(
                f"{path}: wanted arrays x{suffix} and y{suffix}, got {', '.join(sorted(arrays)) or 'none'}"
            )
    shapes = {tuple(images.shape[1:]) for images, _ in parts.values()}
    if len(shapes) > 1:
        raise ValueError(f"{path}: wanted pictures of one shape in all parts, got {sorted(shapes)}")

    count = max(int(labels.max()) for _, labels in parts.values()) + 1
    classes = tuple(str(name) for name in arrays["classes"]) if "classes" in arrays else tuple(map(str, range(count)))
    if len(classes) < max(count, 2):
        raise ValueError(f"{path}: wanted at least {max(count, 2)} classes, got {len(classes)}")
    pictures = {
        part: Pictures(images, labels, classes, tuple(f"{part}/{row}" for row in range(len(images))))
        for part, (images, labels) in parts.items()
    }
    train = pictures["train"]
    if "test" not in pictures:
        train, pictures["test"] = split_off(train, test)
    if "val" not in pictures:
        train, pictures["val"] = split_off(train, validation, seed)
    return Splits(train, pictures["val"], pictures["test"])


def _images(array: np.ndarray, name: str) -> Tensor:
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or 0 in array.shape:
        raise ValueError(f"{name}: wanted [N, H, W], [N, H, W, C] or [N, C, H, W], got {list(array.shape)}")
    if array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = np.moveaxis(array, 3, 1)
    if array.shape[1] not in (1, 3):
        raise ValueError(f"{name}: wanted 1 or 3 channels, got {list(array.shape)}")
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"{name}: wanted numbers in 0..1, got {np.nanmin(array)} to {np.nanmax(array)} or no number"
            )
        array = np.round(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"{name}: wanted uint8 or floating numbers, got {array.dtype}")
    return torch.from_numpy(np.ascontiguousarray(array))


def _labels(array: np.ndarray, count: int, name: str) -> Tensor:
    if not np.issubdtype(array.dtype, np.integer) or array.shape != (count,):
        raise ValueError(f"{name}: wanted integers [{count}], got {array.dtype} {list(array.shape)}")
    if array.min() < 0:
        raise ValueError(f"{name}: wanted labels from 0, got {array.min()}")
    return torch.from_numpy(array.astype(np.int64))
