"""A folder of pictures, a sub-folder for each class."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unwarp.checks import check_size
from unwarp.data.pictures import Pictures, Splits, check_channels, complete_splits
from unwarp.data.reading import PICTURE_SUFFIXES, read_pictures, stack_pictures

_PART_OF_NAME = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_NAMED_SUFFIXES = 5


class _File(NamedTuple):
    part: str
    label: int
    path: Path


def find_pictures(path: str | Path) -> list[Path]:
    """The picture files in a folder and its sub-folders, told by their suffix, sorted.

    Names that begin with a dot are ignored. Links are followed, but no folder is visited twice.
    """
    return [file for file in _files_in(path) if _is_picture(file)]


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in PICTURE_SUFFIXES


def _files_in(path: str | Path) -> list[Path]:
    folders, visited, found = [Path(path)], set(), []
    while folders:
        folder = folders.pop()
        if folder.resolve() in visited:
            continue
        visited.add(folder.resolve())
        for entry in sorted(folder.iterdir(), reverse=True):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry)
            else:
                found.append(entry)
    return sorted(found)


def load_folder(
    path: str | Path,
    size: tuple[int, int],
    *,
    channels: int | None = None,
    strict: bool = False,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
) -> Splits:
    """Pictures of a folder with a sub-folder for each class, in the order of their paths.

    If the folder has the sub-folders train and test, or val (also valid, validation), the classes are in these. Parts
    that are not there are split off the training pictures, the same share of each class.

    Every picture is resized to `size`, antialiased bilinear, without keeping the aspect ratio: normalised coordinates
    then mean the same in the resized picture and in the original, so that a map found in one can be used in the other.

    Args:
        path: the folder.
        size: (H, W) of the pictures.
        channels: 1 for grey, 3 for colour; None is 3 if any picture has colour.
        strict: fail on the first picture that cannot be read, instead of leaving it out with a warning.
        validation: fraction of the training pictures to split off for validation.
        test: fraction of the training pictures to split off for testing.
        seed: of the splits.

    Raises:
        ValueError: naming the folder, if it is not there or has no such layout, if there are fewer than two classes, if
            the parts do not have the same ones, or if a class has too few readable pictures.
    """
    check_size(size, 2)
    if channels is not None:
        check_channels(channels)
    root = Path(path)
    parts = _part_folders(root)
    classes = _class_names(root, parts)
    files = [
        _File(part, label, file)
        for part, folder in parts.items()
        for label, name in enumerate(classes)
        for file in _files_in(folder / name)
    ]
    others = [file.path for file in files if not _is_picture(file.path) and file.path.is_file()]
    if others:
        suffixes = Counter(other.suffix or "no suffix" for other in others).most_common(_NAMED_SUFFIXES)
        counts = ", ".join(f"{count} with {suffix}" for suffix, count in suffixes)
        warnings.warn(f"left out files that are no pictures by their names: {counts}", stacklevel=2)
    files = [file for file in files if _is_picture(file.path)]
    _check_every_class(root, parts, classes, files, "pictures")

    images = read_pictures([file.path for file in files], size, channels, strict=strict)
    files = [file for file in files if file.path in images]
    _check_every_class(root, parts, classes, files, "readable pictures")
    pictures = {part: _pictures(root, [file for file in files if file.part == part], images, classes) for part in parts}
    if len({part.images.shape[1] for part in pictures.values()}) > 1:
        pictures = {name: part.with_channels(3) for name, part in pictures.items()}
    try:
        return complete_splits(
            pictures["train"],
            pictures.get("validation"),
            pictures.get("test"),
            validation_fraction=validation,
            test_fraction=test,
            seed=seed,
        )
    except ValueError as error:
        raise ValueError(f"{root}: {error}") from error


def _part_folders(root: Path) -> dict[str, Path]:
    """The folder of each part that is there; only train, the root itself, if the classes are right in it."""
    if not root.exists():
        raise ValueError(f"{root}: wanted a folder with a sub-folder of pictures for each class, got nothing there")
    if not root.is_dir():
        raise ValueError(f"{root}: wanted a folder with a sub-folder of pictures for each class, got a file")
    folders = _sub_folders(root)
    named = [(_PART_OF_NAME[folder.name.lower()], folder) for folder in folders if folder.name.lower() in _PART_OF_NAME]
    parts = dict(named)
    # A class may be called "train" too (car, bus, train): parts are alone, or train stands beside another part.
    if not (parts and (len(named) == len(folders) or ("train" in parts and len(parts) > 1))):
        return {"train": root}
    if "train" not in parts or len(parts) != len(named):
        got = ", ".join(folder.name for _, folder in named)
        raise ValueError(f"{root}: wanted one folder train, and at most one val and one test; got {got}")
    return parts


def _class_names(root: Path, parts: Mapping[str, Path]) -> tuple[str, ...]:
    of_part = {part: {folder.name for folder in _sub_folders(path)} for part, path in parts.items()}
    classes = of_part["train"]
    if not classes:
        raise ValueError(
            f"{parts['train']}: wanted a sub-folder of pictures for each class, got no sub-folder; "
            "move the pictures of each class into one"
        )
    for part, names in of_part.items():
        if names != classes:
            missing, extra = sorted(classes - names), sorted(names - classes)
            raise ValueError(f"{root}: wanted the classes of train in {part}; got {missing} missing, {extra} more")
    if len(classes) == 1:
        raise ValueError(f"{root}: wanted two or more classes, got only {min(classes)!r}")
    return tuple(sorted(classes))


def _sub_folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _check_every_class(
    root: Path, parts: Iterable[str], classes: tuple[str, ...], files: list[_File], what: str
) -> None:
    if not files:
        raise ValueError(f"{root}: wanted {what} ({', '.join(PICTURE_SUFFIXES)}), got none")
    have = {(file.part, file.label) for file in files}
    for part in parts:
        for label, name in enumerate(classes):
            if (part, label) not in have:
                raise ValueError(
                    f"{root}: wanted {what} of class {name!r} in {part}, got none; remove the class or add some"
                )


def _pictures(root: Path, files: list[_File], images: Mapping[Path, Tensor], classes: tuple[str, ...]) -> Pictures:
    return Pictures(
        stack_pictures([images[file.path] for file in files]),
        torch.tensor([file.label for file in files]),
        classes,
        tuple(file.path.relative_to(root).as_posix() for file in files),
    )
