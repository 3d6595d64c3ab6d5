from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unwarp.data import load, load_birds
from unwarp.data.birds import is_birds_folder

CLASSES = ("001.Albatross", "002.Ani", "003.Auklet")
PER_CLASS = 8


def birds_folder(root: Path) -> Path:
    """A small folder in the layout of CUB-200-2011: five of eight pictures of each class are for training."""
    names, labels, parts = [], [], []
    random = np.random.default_rng(0)
    for label, name in enumerate(CLASSES, start=1):
        (root / "images" / name).mkdir(parents=True)
        for index in range(PER_CLASS):
            number = len(names) + 1
            file = f"{name}/{name}_{index}.jpg"
            shape = (20 + index, 30, 3) if index else (20, 30)  # a grey one in each class
            Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(root / "images" / file)
            names.append(f"{number} {file}")
            labels.append(f"{number} {label}")
            parts.append(f"{number} {int(index % 8 < 5)}")
    for file, lines in (
        ("images.txt", names),
        ("image_class_labels.txt", labels),
        ("train_test_split.txt", parts),
        ("classes.txt", [f"{label} {name}" for label, name in enumerate(CLASSES, start=1)]),
    ):
        (root / file).write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    return birds_folder(tmp_path / "CUB_200_2011")


def test_the_parts_are_its_own(birds: Path) -> None:
    splits = load_birds(birds, (16, 12), validation=0.2)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 3, 9]
    assert splits.train.classes == CLASSES
    for part in (splits.train, splits.validation, splits.test):
        assert part.images.shape[1:] == (3, 16, 12)
        for label, name in zip(part.labels, part.names, strict=True):
            assert name.startswith(CLASSES[label])
    assert {name.rpartition("_")[2] for name in splits.test.names} == {"5.jpg", "6.jpg", "7.jpg"}


def test_the_catalog_knows_the_layout_and_the_name(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_birds_folder(birds)
    by_path = load(str(birds), size=(10, 10))
    monkeypatch.setenv("UNWARP_DATA", str(birds.parent))
    by_name = load("birds", size=(10, 10))
    assert torch.equal(by_path.test.images, by_name.test.images)
    assert load("birds", size=(10, 10), channels=1).train.images.shape[1] == 1


def test_where_to_get_it_is_said_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNWARP_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(OSError, match=r"CUB_200_2011: wanted in .* unpack it from https://data.caltech.edu"):
        load("birds")


def test_a_picture_that_cannot_be_read_is_left_out(birds: Path) -> None:
    (birds / "images" / CLASSES[0] / f"{CLASSES[0]}_7.jpg").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="left out 1 of 24") as caught:
        assert len(load_birds(birds, (8, 8)).test) == 8
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match=r"_7.jpg: wanted a picture"):
        load_birds(birds, (8, 8), strict=True)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("images.txt", lambda lines: lines[1:], "label.*wanted a line for each picture of images.txt"),
        ("images.txt", lambda lines: ["1 ../../x.jpg", *lines[1:]], "wanted paths below images/"),
        ("image_class_labels.txt", lambda lines: ["1 9", *lines[1:]], "wanted classes of classes.txt, got 9"),
        ("image_class_labels.txt", lambda lines: [*lines, "99 1"], "got one too many or few: 99"),
        ("train_test_split.txt", lambda lines: ["1 2", *lines[1:]], "wanted 1 for training or 0, got 2"),
        ("train_test_split.txt", lambda lines: [line[:-1] + "0" for line in lines], "wanted training pictures"),
        ("classes.txt", lambda lines: ["1", *lines[1:]], "wanted a new key, a space and a value in line 1"),
        ("classes.txt", lambda lines: [*lines, lines[0]], "wanted a new key, a space and a value in line 4"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(birds: Path, file: str, change, message: str) -> None:
    lines = (birds / file).read_text().splitlines()
    (birds / file).write_text("\n".join(change(lines)))
    with pytest.raises(ValueError, match=message) as caught:
        load_birds(birds, (8, 8))
    assert str(birds) in str(caught.value)


def test_a_folder_without_the_tables_is_none(tmp_path: Path) -> None:
    assert not is_birds_folder(tmp_path)
    with pytest.raises(ValueError, match=r"images.txt: wanted a table"):
        load_birds(tmp_path, (8, 8))
