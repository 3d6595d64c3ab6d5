"""CUB-200-2011: 11,788 pictures of 200 species of birds (Wah et al., Caltech 2011), as its archive has them."""

from pathlib import Path

import torch

from unwarp.checks import check_size
from unwarp.data.pictures import Pictures, Splits, check_channels, complete_splits
from unwarp.data.reading import read_pictures, stack_pictures
from unwarp.data.storage import local_folder

_FOLDER = "CUB_200_2011"
_SOURCE = "https://data.caltech.edu/records/65de6-vp158 (CUB_200_2011.tgz, 1.1 GB)"
_IMAGES, _LABELS, _PARTS, _CLASSES = "images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"


def is_birds_folder(path: Path) -> bool:
    """Whether a folder has the layout of CUB-200-2011."""
    return all((path / name).is_file() for name in (_IMAGES, _LABELS, _PARTS, _CLASSES))


def find_birds() -> Path:
    """The folder of CUB-200-2011. OSError, with where to get it, if it is not there."""
    return local_folder(_FOLDER, source=_SOURCE)


def load_birds(
    path: str | Path,
    size: tuple[int, int],
    *,
    channels: int = 3,
    strict: bool = False,
    validation: float = 0.1,
    seed: int = 0,
) -> Splits:
    """Pictures in the layout of CUB-200-2011, with its own training and test pictures.

    In the folder are images.txt (number and path of a picture, below images/), image_class_labels.txt (number and
    class), train_test_split.txt (number and 1 for training, 0 for testing), classes.txt (class and name): a line each,
    with a space between. 5,994 training and 5,794 test pictures; all are kept in memory, 1.8 GB at 224×224.

    Args:
        path: the folder.
        size: (H, W) to resize every picture to, without keeping the aspect ratio; see `load_folder`.
        channels: 1 for grey, 3 for colour; the few grey pictures become colour.
        strict: fail on the first picture that cannot be read, instead of leaving it out with a warning.
        validation: fraction of the training pictures to split off for validation, the same share of each class.
        seed: of that choice.

    Raises:
        ValueError: naming the file, if the folder has no such layout, or a class too few readable pictures.
    """
    check_size(size, 2)
    check_channels(channels)
    root = Path(path)
    names, labels, parts = (_table(root / name) for name in (_IMAGES, _LABELS, _PARTS))
    classes = _table(root / _CLASSES)
    for file, table in ((_LABELS, labels), (_PARTS, parts)):
        if table.keys() != names.keys():
            odd = sorted(table.keys() ^ names.keys())[0]
            raise ValueError(
                f"{root / file}: wanted a line for each picture of {_IMAGES}, got one too many or few: {odd}"
            )
    for number, label in labels.items():
        if label not in classes:
            raise ValueError(f"{root / _LABELS}: wanted classes of {_CLASSES}, got {label} for picture {number}")
        if parts[number] not in ("0", "1"):
            raise ValueError(f"{root / _PARTS}: wanted 1 for training or 0, got {parts[number]} for picture {number}")
        if ".." in Path(names[number]).parts or Path(names[number]).is_absolute():
            raise ValueError(f"{root / _IMAGES}: wanted paths below images/, got {names[number]}")

    rows = {label: row for row, label in enumerate(classes)}
    files = {number: root / "images" / name for number, name in names.items()}
    images = read_pictures(list(files.values()), size, channels, strict=strict)

    def part(word: str) -> Pictures:
        chosen = [number for number in files if parts[number] == word and files[number] in images]
        if not chosen:
            what = "training" if word == "1" else "test"
            raise ValueError(f"{root}: wanted {what} pictures that can be read, got none")
        return Pictures(
            stack_pictures([images[files[number]] for number in chosen]),
            torch.tensor([rows[labels[number]] for number in chosen]),
            tuple(classes.values()),
            tuple(names[number] for number in chosen),
        )

    try:
        return complete_splits(part("1"), None, part("0"), validation_fraction=validation, test_fraction=0.0, seed=seed)
    except ValueError as error:
        raise error if str(error).startswith(str(root)) else ValueError(f"{root}: {error}") from error


def _table(file: Path) -> dict[str, str]:
    """The lines "key value" of a file. ValueError for another form, or a key that comes twice."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: wanted a table of CUB-200-2011, got {error}") from error
    table: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        key, _, value = line.partition(" ")
        if not key or not value or key in table:
            raise ValueError(f"{file}: wanted a new key, a space and a value in line {number}, got {line!r}")
        table[key] = value
    return table
