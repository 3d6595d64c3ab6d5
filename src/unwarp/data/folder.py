"""Folders of pictures: a sub-folder for each class."""

import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from unwarp.checks import check_size
from unwarp.data.pictures import Pictures, Splits, split_off

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "F")
_MOST_PIXELS = 2**27
_NAMED = 10


class UnreadablePictureWarning(UserWarning):
    """Some pictures of a folder could not be read and were left out."""


def read_picture(path: str | Path, *, channels: int | None = None, size: Sequence[int] | None = None) -> Tensor:
    """A picture file as uint8 `[C, H, W]`.

    PNG, JPEG, BMP, WebP and TIFF; grey, palette, RGB, CMYK; transparency is laid over black; 16 bits become 8; the
    EXIF orientation is applied.

    Args:
        path: the file.
        channels: 1 or 3; if None, 1 for grey files, else 3.
        size: (H, W) to bring it to, averaging what falls together; the shape is not kept, so that normalised
            coordinates mean the same in the original.

    Raises:
        ValueError: naming the file, if it is no picture, broken, or of over 2²⁷ pixels.
    """
    try:
        with Image.open(path) as file:
            if file.width * file.height > _MOST_PIXELS:
                raise ValueError(f"a picture of {file.width}×{file.height} is too large")
            picture = ImageOps.exif_transpose(file)
            wanted = channels if channels is not None else (1 if file.mode in _GREY_MODES else 3)
            picture = _to_bytes(picture).convert("L" if wanted == 1 else "RGB")
            if size is not None:
                picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    except Exception as error:  # Pillow's decoders raise a dozen kinds for broken files
        raise ValueError(f"{path}: wanted a picture, got {error or type(error).__name__}") from error
    pixels = torch.from_numpy(np.array(picture))
    return pixels.unsqueeze(0) if wanted == 1 else pixels.permute(2, 0, 1).contiguous()


def find_pictures(folder: str | Path) -> list[Path]:
    """The picture files in a folder and its sub-folders, sorted, hidden ones left out."""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in files if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in EXTENSIONS)


def load_folder(
    path: str | Path,
    *,
    size: Sequence[int],
    channels: int | None = None,
    strict: bool = False,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
) -> Splits:
    """Pictures of a folder with a sub-folder for each class, or with `train/`, `test/` and `val/` of such sub-folders.

    Args:
        path: the folder.
        size: (H, W) that every picture is brought to; see `read_picture`.
        channels: 1 or 3; if None, 1 where all pictures are grey.
        strict: fail on the first picture that cannot be read; otherwise they are left out, with a warning that names
            and counts them.
        validation: share split off the training pictures, stratified, if there is no `val/`.
        test: the same, if there is no `test/`; it does not depend on `seed`.
        seed: of the validation split.

    Raises:
        ValueError: for no such folder, no picture, a single class, a class without a readable picture or with too few
            to split, or classes that differ between the parts.
    """
    path = Path(path)
    check_size(size, 2)
    if not path.is_dir():
        raise ValueError(
            f"data: wanted a folder of pictures, got {path}, which is {'a file' if path.exists() else 'not there'}"
        )
    folders = _part_folders(path)
    files = {part: _by_class(folder) for part, folder in folders.items()}
    classes = tuple(sorted(files["train"]))
    if len(classes) < 2:
        raise ValueError(
            f"data: wanted at least two class sub-folders with pictures in {folders['train']}, got {list(classes)}"
        )
    for part, found in files.items():
        odd = sorted(set(found) ^ set(classes))
        if odd:
            raise ValueError(
                f"data: wanted the same classes in {folders['train']} and {folders[part]}; they differ in {odd}"
            )

    everything = [file for found in files.values() for group in found.values() for file in group]
    if channels is None:
        channels = 1 if all(_is_grey(file) for file in everything) else 3
    read = dict(zip(everything, _read_all(everything, partial(_try, channels, size)), strict=True))
    broken = [str(error) for error in read.values() if isinstance(error, ValueError)]
    if broken and strict:
        raise ValueError(broken[0])
    if broken:
        shown = "; ".join(broken[:_NAMED]) + ("; ..." if len(broken) > _NAMED else "")
        warnings.warn(
            f"{len(broken)} of {len(read)} pictures left out: {shown}", UnreadablePictureWarning, stacklevel=2
        )

    parts = {part: _assemble(found, classes, read, path) for part, found in files.items()}
    train = parts["train"]
    if "test" not in parts:
        train, parts["test"] = split_off(train, test)
    if "validation" not in parts:
        train, parts["validation"] = split_off(train, validation, seed)
    return Splits(train, parts["validation"], parts["test"])


def _to_bytes(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture).astype(np.float64)
        brightest = 65535 if picture.mode != "F" else 1 if np.nanmax(values) <= 1 else 255
        return Image.fromarray(np.nan_to_num(np.round(values * (255 / brightest))).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        black = Image.new("RGBA", layered.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, layered)
    return picture


def _part_folders(path: Path) -> dict[str, Path]:
    folders = {part: path / name for name, part in _PARTS.items() if (path / name).is_dir()}
    return folders if "train" in folders else {"train": path}


def _by_class(folder: Path) -> dict[str, list[Path]]:
    kinds = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    found = {kind.name: find_pictures(kind) for kind in kinds}
    if not any(found.values()):
        raise ValueError(
            f"data: wanted pictures ({', '.join(EXTENSIONS)}) in class sub-folders of {folder}, found none"
        )
    return {name: files for name, files in found.items() if files}


def _is_grey(file: Path) -> bool:
    try:
        with Image.open(file) as picture:
            return picture.mode in _GREY_MODES
    except Exception:  # counted, with its reason, when it is read
        return True


def _try(channels: int, size: Sequence[int], file: Path) -> Tensor | ValueError:
    try:
        return read_picture(file, channels=channels, size=size)
    except ValueError as error:
        return error


def _read_all(files: Sequence[Path], read: partial) -> Iterable[Tensor | ValueError]:
    from rich.progress import track

    with ThreadPoolExecutor() as pool:
        results = pool.map(read, files)
        yield from track(results, "reading pictures", total=len(files), disable=not sys.stdout.isatty(), transient=True)


def _assemble(
    found: dict[str, list[Path]], classes: tuple[str, ...], read: dict[Path, Tensor | ValueError], root: Path
) -> Pictures:
    images, labels, names = [], [], []
    for label, name in enumerate(classes):
        before = len(images)
        for file in found[name]:
            image = read[file]
            if isinstance(image, Tensor):
                images.append(image)
                labels.append(label)
                names.append(file.relative_to(root).as_posix())
        if len(images) == before:
            raise ValueError(f"data: wanted a readable picture of class {name!r}, got none in {found[name][0].parent}")
    return Pictures(torch.stack(images), torch.tensor(labels), classes, tuple(names))
