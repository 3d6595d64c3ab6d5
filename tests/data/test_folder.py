import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unwarp.data.folder import find_pictures, load_folder


def make(root: Path, counts: dict[str, int], *, colour: bool = False, size: tuple[int, int] = (6, 8)) -> Path:
    """Folders of random pictures; pictures of different folders differ."""
    for name, count in counts.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(list(name.encode()))
        for row in range(count):
            shape = (*size, 3) if colour else size
            Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{row:02}.png")
    return root


def sizes(splits) -> list[int]:
    return [len(part) for part in (splits.train, splits.validation, splits.test)]


def test_class_folders_are_split(tmp_path):
    splits = load_folder(make(tmp_path, {"b": 20, "a": 30, "c": 50}), (6, 8))
    assert splits.train.classes == ("a", "b", "c")
    assert sizes(splits) == [70, 10, 20]
    for part in (splits.train, splits.validation, splits.test):
        for label, name, image in zip(part.labels, part.names, part.images, strict=True):
            assert name.split("/")[0] == part.classes[label]
            assert np.array_equal(image[0].numpy(), np.array(Image.open(tmp_path / name)))
    assert len(set(splits.train.names + splits.validation.names + splits.test.names)) == 100


def test_the_same_seed_is_the_same_split(tmp_path):
    make(tmp_path, {"a": 10, "b": 10})
    one, same, other = (load_folder(tmp_path, (6, 8), seed=seed) for seed in (0, 0, 1))
    assert one.train.names == same.train.names
    assert torch.equal(one.train.images, same.train.images)
    assert one.train.names != other.train.names


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_parts_that_are_there_are_kept(tmp_path, val):
    make(tmp_path, {"train/a": 8, "train/b": 8, f"{val}/a": 2, f"{val}/b": 3, "test/a": 4, "test/b": 1})
    splits = load_folder(tmp_path, (6, 8))
    assert sizes(splits) == [16, 5, 5]
    assert all(name.startswith("test/") for name in splits.test.names)
    assert splits.validation.names[0] == f"{val}/a/00.png"


def test_parts_that_are_missing_come_from_the_training_pictures(tmp_path):
    make(tmp_path, {"train/a": 20, "train/b": 20})
    assert sizes(load_folder(tmp_path, (6, 8))) == [28, 4, 8]
    make(tmp_path, {"test/a": 3, "test/b": 3})
    assert sizes(load_folder(tmp_path, (6, 8))) == [36, 4, 6]


def test_a_class_may_be_called_train(tmp_path):
    assert load_folder(make(tmp_path, {"car": 5, "train": 5}), (6, 8)).train.classes == ("car", "train")


def test_colour_is_found_and_grey_pictures_follow(tmp_path):
    make(tmp_path, {"a": 5, "b": 5})
    assert load_folder(tmp_path, (6, 8)).train.images.shape[1] == 1
    assert load_folder(tmp_path, (6, 8), channels=3).train.images.shape[1] == 3
    make(tmp_path, {"c": 4}, colour=True)
    assert load_folder(tmp_path, (6, 8)).train.images.shape[1] == 3
    assert load_folder(tmp_path, (6, 8), channels=1).train.images.shape[1] == 1


def test_colour_in_one_part_only(tmp_path):
    make(tmp_path, {"train/a": 4, "train/b": 4})
    make(tmp_path, {"test/a": 2, "test/b": 2}, colour=True)
    splits = load_folder(tmp_path, (6, 8))
    assert splits.train.images.shape[1] == splits.test.images.shape[1] == 3


def test_pictures_of_all_sizes_become_one(tmp_path):
    make(tmp_path, {"a": 5}, size=(30, 10))
    make(tmp_path, {"b": 5}, size=(4, 50))
    assert load_folder(tmp_path, (12, 16)).train.images.shape[1:] == (1, 12, 16)


def test_unreadable_pictures_are_left_out_with_one_warning(tmp_path):
    make(tmp_path, {"a": 5, "b": 5})
    for row in range(12):
        (tmp_path / "a" / f"bad{row:02}.jpg").write_bytes(b"" if row % 2 else b"text")
    with pytest.warns(UserWarning, match="left out 12 of 22 pictures") as caught:
        splits = load_folder(tmp_path, (6, 8))
    assert len(caught) == 1
    message = str(caught[0].message)
    assert message.count("bad") == 10
    assert "bad09.jpg" in message
    assert message.endswith("and 2 more")
    assert caught[0].filename == __file__
    assert sum(sizes(splits)) == 10


def test_strict_fails_on_the_first_unreadable_picture(tmp_path):
    make(tmp_path, {"a": 5, "b": 5})
    for name in ("a/03x.png", "b/00x.png"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"03x.png: wanted a picture"):
        load_folder(tmp_path, (6, 8), strict=True)


def test_a_class_left_without_readable_pictures(tmp_path):
    make(tmp_path, {"a": 5, "b": 0, "c": 5})
    (tmp_path / "b" / "bad.png").touch()
    with (
        pytest.warns(UserWarning, match="left out 1"),
        pytest.raises(ValueError, match="readable pictures of class 'b'"),
    ):
        load_folder(tmp_path, (6, 8))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "got no sub-folder"),
        ({"a": 0, "b": 0}, "wanted pictures .* got none"),
        ({"a": 5}, "two or more classes, got only 'a'"),
        ({"a": 5, "b": 0}, "pictures of class 'b' in train, got none"),
        ({"a": 5, "b": 2}, "class 'b': wanted 3 or more training pictures"),
        ({"train/a": 5, "train/b": 5, "test/a": 5}, r"classes of train in test; got \['b'\] missing"),
        (
            {"train/a": 5, "train/b": 5, "test/a": 5, "test/b": 5, "test/c": 5},
            r"in test; got \[\] missing, \['c'\] more",
        ),
        ({"train/a": 5, "train/b": 5, "val/a": 5}, r"classes of train in validation; got \['b'\] missing"),
        ({"train/a": 5, "train/b": 5, "test/a": 5, "test/b": 0}, "pictures of class 'b' in test, got none"),
        ({"train/a": 5, "train/b": 5, "val/a": 5, "valid/a": 5}, "at most one val"),
        ({"test/a": 5, "val/a": 5}, "wanted one folder train"),
        ({"train": 5, "test": 5}, "train: wanted a sub-folder of pictures for each class"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, counts, message):
    make(tmp_path, counts)
    with pytest.raises(ValueError, match=message) as caught:
        load_folder(tmp_path, (6, 8))
    assert str(tmp_path) in str(caught.value)


def test_a_path_that_is_no_folder(tmp_path):
    with pytest.raises(ValueError, match="got nothing there"):
        load_folder(tmp_path / "none", (6, 8))
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="got a file"):
        load_folder(tmp_path / "file", (6, 8))


def test_arguments_are_checked(tmp_path):
    make(tmp_path, {"a": 5, "b": 5})
    with pytest.raises(ValueError, match="size: wanted"):
        load_folder(tmp_path, (6, 8, 1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="channels: wanted"):
        load_folder(tmp_path, (6, 8), channels=2)
    with pytest.raises(ValueError, match="test: wanted a fraction"):
        load_folder(tmp_path, (6, 8), test=0)


def test_find_pictures_is_sorted_recursive_and_ignores_what_is_hidden(tmp_path):
    names = ["b/2.PNG", "b/10.jpeg", "a/deep/er/x.webp", "z.tif", ".hidden.png", ".cache/x.png", "notes.txt", "b/noext"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_pictures(tmp_path)]
    assert found == ["a/deep/er/x.webp", "b/10.jpeg", "b/2.PNG", "z.tif"]


def test_loops_of_links_end(tmp_path):
    root = make(tmp_path / "root", {"a": 4, "b": 4})
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a")
    (root / "b" / "snake").symlink_to("snake")
    assert len(find_pictures(root)) == 8
    outside = make(tmp_path / "outside", {"c": 4})
    (root / "c").symlink_to(outside / "c")
    (root / "a" / "up").unlink()
    splits = load_folder(root, (6, 8))
    assert splits.train.classes == ("a", "b", "c")
    assert sum(sizes(splits)) == 12


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_does_not_block(tmp_path):
    make(tmp_path, {"a": 4, "b": 4})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    with pytest.warns(UserWarning, match="pipe.png"):
        load_folder(tmp_path, (6, 8))


def test_a_terminal_shows_progress_and_the_pictures_are_the_same(tmp_path, monkeypatch):
    make(tmp_path, {"a": 5, "b": 5})
    plain = load_folder(tmp_path, (6, 8))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(load_folder(tmp_path, (6, 8)).train.images, plain.train.images)


def test_files_that_are_no_pictures_by_their_names_are_counted(tmp_path):
    make(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "b" / "photo.heic").write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"no pictures by their names: 1 with \.txt, 1 with \.heic"):
        load_folder(tmp_path, (6, 6))
