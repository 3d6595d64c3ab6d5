"""Pictures from the arrays of a NumPy file."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unwarp.data.pictures import CHANNELS, Pictures, Splits, complete_splits

_KEYS = ("x", "y", "x_train", "y_train", "x_val", "y_val", "x_test", "y_test")
DAMAGE = (OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def load_arrays(path: str | Path, *, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Splits:
    """Pictures of an .npz file.

    Its arrays are `x_train` and `y_train` (or, for short, `x` and `y`) and, where there are such parts, `x_val`,
    `y_val`, `x_test` and `y_test`; a part that is not there is split off the training pictures, the same share of each
    class. Images are `[N, H, W]`, `[N, H, W, C]` or `[N, C, H, W]` with C of 1 or 3, uint8 or floats in 0..1; labels
    are `[N]` integers from 0, or `[N, T]` for a sequence of them in each picture, which wants all three parts. The
    names of the classes may be in `classes`, an array of strings. Arrays of other names are ignored.

    Args:
        path: the file.
        validation: fraction of the training pictures to split off for validation.
        test: fraction of the training pictures to split off for testing.
        seed: of the splits.

    Raises:
        ValueError: naming the file and the array, for anything else.
    """
    path = Path(path)
    arrays = _read(path)
    unknown = [key for key in arrays if key.startswith(("x_", "y_")) and key not in _KEYS]
    if unknown:
        raise ValueError(f"{path}: wanted arrays named {', '.join(_KEYS)}; got {', '.join(unknown)}")
    if ("x" in arrays) == ("x_train" in arrays):
        raise ValueError(
            f"{path}: wanted either x and y or x_train and y_train, got {', '.join(arrays) or 'no arrays'}"
        )
    suffixes = {"train": "" if "x" in arrays else "_train", "validation": "_val", "test": "_test"}
    labels = {
        part: _labels(path, f"y{suffix}", arrays)
        for part, suffix in suffixes.items()
        if part == "train" or f"x{suffix}" in arrays or f"y{suffix}" in arrays
    }
    largest, count = max(int(rows.max()) for rows in labels.values()), sum(rows.numel() for rows in labels.values())
    if largest >= count:
        raise ValueError(f"{path}: wanted classes 0, 1, 2, ..., each with a label; got {largest} among {count} labels")
    classes = _classes(path, arrays, 1 + largest)
    try:
        parts = {part: _pictures(path, suffixes[part], arrays, rows, classes) for part, rows in labels.items()}
        return complete_splits(
            parts["train"],
            parts.get("validation"),
            parts.get("test"),
            validation_fraction=validation,
            test_fraction=test,
            seed=seed,
        )
    except ValueError as error:
        raise error if str(error).startswith(str(path)) else ValueError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file that are ours."""
    if not path.is_file():
        raise ValueError(f"{path}: wanted an .npz file, got a path that is no file")
    arrays = {}
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except DAMAGE as error:
            raise ValueError(f"{path}: wanted an .npz file of NumPy, got {error}") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError(f"{path}: wanted an .npz file with named arrays, got one array; save it with np.savez")
        for key in archive.files:
            if key.startswith(("x_", "y_")) or key in (*_KEYS, "classes"):
                try:
                    arrays[key] = archive[key]
                except DAMAGE as error:
                    raise ValueError(f"{path}: {key}: wanted an array without Python objects, got {error}") from error
    return arrays


def _labels(path: Path, key: str, arrays: Mapping[str, np.ndarray]) -> Tensor:
    if key not in arrays:
        raise ValueError(f"{path}: {key}: wanted the labels of x{key[1:]}, got no such array")
    labels = arrays[key]
    if labels.ndim not in (1, 2) or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{path}: {key}: wanted integers [N] or [N, T], got {_described(labels)}")
    if labels.min() < 0:
        raise ValueError(f"{path}: {key}: wanted labels from 0, got {labels.min()}")
    return torch.from_numpy(labels.astype(np.int64))


def _classes(path: Path, arrays: Mapping[str, np.ndarray], count: int) -> tuple[str, ...]:
    if "classes" not in arrays:
        return tuple(str(label) for label in range(count))
    names = arrays["classes"]
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) < count:
        raise ValueError(f"{path}: classes: wanted {count} or more strings, got {_described(names)}")
    return tuple(names.tolist())


def _pictures(
    path: Path, suffix: str, arrays: Mapping[str, np.ndarray], labels: Tensor, classes: tuple[str, ...]
) -> Pictures:
    key = f"x{suffix}"
    if key not in arrays:
        raise ValueError(f"{path}: {key}: wanted the images of y{suffix}, got no such array")
    images = _images(path, key, arrays[key])
    if len(images) != len(labels):
        raise ValueError(f"{path}: {key}: wanted {len(labels)} images, as y{suffix} has labels; got {len(images)}")
    return Pictures(images, labels, classes, tuple(f"{key}/{row}" for row in range(len(images))))


def _images(path: Path, key: str, array: np.ndarray) -> Tensor:
    """The images as uint8 `[N, C, H, W]`."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in CHANNELS and array.shape[1] in CHANNELS:
        raise ValueError(f"{path}: {key}: wanted channels either first or last, got both in {_described(array)}")
    elif array.ndim == 4 and array.shape[3] in CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in CHANNELS or 0 in array.shape:
        raise ValueError(
            f"{path}: {key}: wanted [N, H, W], [N, H, W, C] or [N, C, H, W] with C of 1 or 3, got {_described(array)}"
        )
    if np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):
            raise ValueError(f"{path}: {key}: wanted floats in 0..1, got {low} to {high}; or save 0..255 as uint8")
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"{path}: {key}: wanted uint8, or floats in 0..1, got {_described(array)}")
    return torch.from_numpy(np.ascontiguousarray(array))


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"
