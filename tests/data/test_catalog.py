import numpy as np
import pytest
from PIL import Image

from unwarp.data import load, load_digits


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for row in range(5):
            Image.new("L", (9, 7), 20 * row).save(tmp_path / name / f"{row}.png")
    return tmp_path


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "file.npz"
    np.savez(path, x=np.zeros((20, 6, 8, 3), dtype=np.uint8), y=np.arange(20) % 2)
    return path


def test_digits_are_what_they_are_unless_told(archive):
    assert load("digits").train.names == load_digits().train.names
    assert load("digits").train.images.shape[1:] == (1, 20, 20)
    assert load("digits", size=(28, 24), channels=3).test.images.shape == (400, 3, 28, 24)
    assert load("digits", seed=1).train.names == load_digits(seed=1).train.names


def test_folders(folder):
    assert load(str(folder)).train.images.shape[1:] == (1, 48, 48)
    assert load(str(folder), size=(7, 9), channels=3).train.images.shape[1:] == (3, 7, 9)


def test_strict_reaches_the_folder(folder):
    (folder / "a" / "bad.png").touch()
    with pytest.raises(ValueError, match=r"bad.png"):
        load(str(folder), strict=True)


def test_archives(archive):
    assert load(str(archive)).train.images.shape[1:] == (3, 6, 8)
    assert load(str(archive), size=(12, 10), channels=1).train.images.shape[1:] == (1, 12, 10)


def test_the_word_comes_before_a_folder_of_that_name(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder.rename(folder.parent / "digits")
    assert len(load("digits").train) == 1197
    assert len(load("./digits").train.classes) == 2


@pytest.mark.parametrize(("data", "got"), [("minst", "not there"), ("", "got ''"), ("file.txt", "another file")])
def test_other_names_are_refused_with_what_is_accepted(tmp_path, monkeypatch, data, got):
    (tmp_path / "file.txt").touch()
    monkeypatch.chdir(tmp_path)
    names = "mnist, digits, mnist-sequences, birds"
    with pytest.raises(ValueError, match=f"data: wanted {names}, a folder .* a file .npz; .*{got}"):
        load(data)


def test_arguments_are_checked_before_anything_is_read():
    with pytest.raises(ValueError, match="channels: wanted 1"):
        load("mnist", channels=2)
    with pytest.raises(ValueError, match="size: wanted"):
        load("mnist", size=(0, 3))
