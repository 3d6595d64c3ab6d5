from pathlib import Path

import numpy as np
import pytest
import torch

from unwarp.data.arrays import load_arrays

RANDOM = np.random.default_rng(0)


def images(count: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, *(shape or (6, 8))), dtype=np.uint8)


def labels(count: int, classes: int = 2) -> np.ndarray:
    return np.arange(count) % classes


def saved(tmp_path: Path, **arrays) -> Path:
    path = tmp_path / "file.npz"
    np.savez(path, **arrays)
    return path


def sizes(splits) -> list[int]:
    return [len(part) for part in (splits.train, splits.validation, splits.test)]


def test_parts_that_are_there_are_kept(tmp_path):
    path = saved(
        tmp_path,
        x_train=images(8), y_train=labels(8), x_val=images(4), y_val=labels(4), x_test=images(6), y_test=labels(6),
    )  # fmt: skip
    splits = load_arrays(path)
    assert sizes(splits) == [8, 4, 6]
    assert splits.train.classes == ("0", "1")
    assert splits.test.names[2] == "x_test/2"
    assert np.array_equal(splits.train.images[:, 0].numpy(), np.load(path)["x_train"])


def test_sequences_of_labels_want_all_parts(tmp_path):
    parts = {f"x_{part}": images(6) for part in ("train", "val", "test")}
    parts |= {f"y_{part}": labels(18).reshape(6, 3) for part in ("train", "val", "test")}
    splits = load_arrays(saved(tmp_path, **parts))
    assert splits.steps == 3
    assert splits.train.labels.tolist() == labels(18).reshape(6, 3).tolist()


def test_missing_parts_are_split_off(tmp_path):
    assert sizes(load_arrays(saved(tmp_path, x=images(100), y=labels(100)))) == [70, 10, 20]
    path = saved(tmp_path, x_train=images(100), y_train=labels(100), x_test=images(6), y_test=labels(6))
    assert sizes(load_arrays(path)) == [90, 10, 6]
    assert sizes(load_arrays(path, validation=0.5)) == [50, 50, 6]
    assert load_arrays(path).train.names == load_arrays(path).train.names != load_arrays(path, seed=1).train.names


@pytest.mark.parametrize(
    ("shape", "channels"), [((6, 8), 1), ((6, 8, 1), 1), ((6, 8, 3), 3), ((1, 6, 8), 1), ((3, 6, 8), 3)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_layouts_and_dtypes(tmp_path, shape, channels, dtype):
    x = images(12, *shape)
    stored = x if dtype == np.uint8 else (x / 255).astype(dtype)
    parts = {f"{axis}_{part}": array for part in ("val", "test") for axis, array in (("x", stored), ("y", labels(12)))}
    read = load_arrays(saved(tmp_path, x_train=stored, y_train=labels(12), **parts)).train.images
    wanted = torch.from_numpy(x.reshape(12, 1, 6, 8) if len(shape) == 2 or channels == 1 else x)
    if shape == (6, 8, 3):
        wanted = wanted.permute(0, 3, 1, 2)
    assert torch.equal(read, wanted)


def test_classes_have_names(tmp_path):
    names = np.array(["cat", "hündchen"])
    splits = load_arrays(saved(tmp_path, x=images(10), y=labels(10), classes=names))
    assert splits.test.classes == ("cat", "hündchen")


def test_other_arrays_are_ignored_even_if_they_cannot_be_read(tmp_path):
    path = saved(tmp_path, x=images(10), y=labels(10).astype(np.uint8), ids=np.array([{}, []], dtype=object))
    assert sizes(load_arrays(path)) == [6, 2, 2]


GOOD = {"x": images(10), "y": labels(10)}
TRAIN = {"x_train": images(10), "y_train": labels(10)}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "wanted either x and y or x_train"),
        ({"x": GOOD["x"]}, "y: wanted the labels of x, got no such array"),
        ({"y": GOOD["y"]}, "wanted either x and y or x_train"),
        (GOOD | TRAIN, "wanted either x and y or x_train"),
        (TRAIN | {"x_test": images(4)}, "y_test: wanted the labels of x_test"),
        (TRAIN | {"y_val": labels(4)}, "x_val: wanted the images of y_val"),
        (TRAIN | {"x_valid": images(4)}, "got x_valid"),
        (GOOD | {"y": labels(9)}, "x: wanted 9 images, as y has labels; got 10"),
        (GOOD | {"y": labels(10).astype(float)}, r"y: wanted integers \[N\] or \[N, T\], got float64"),
        (GOOD | {"y": labels(10)[:, None]}, r"labels: wanted \[N\] to split them by class, got int64 \[10, 1\]"),
        (GOOD | {"y": labels(10) - 1}, "y: wanted labels from 0, got -1"),
        (GOOD | {"y": np.zeros(0, dtype=int), "x": images(0)}, "y: wanted integers"),
        (GOOD | {"y": np.zeros(10, dtype=int)}, "classes: wanted two or more"),
        (GOOD | {"y": labels(10) * 2}, "class '1': wanted 3 or more training pictures"),
        (GOOD | {"y": np.array([0] * 8 + [1] * 2)}, "class '1': wanted 3 or more training pictures"),
        (GOOD | {"x": images(10, 6)}, "x: wanted"),
        (GOOD | {"x": images(10, 4, 6, 8)}, "x: wanted"),
        (GOOD | {"x": images(10, 3, 6, 3)}, "channels either first or last"),
        (GOOD | {"x": images(10, 0, 8)}, "x: wanted"),
        (GOOD | {"x": images(10).astype(np.int64)}, "x: wanted uint8, or floats"),
        (GOOD | {"x": images(10) > 9}, "x: wanted uint8, or floats"),
        (GOOD | {"x": images(10).astype(np.float32)}, "x: wanted floats in 0..1, got 0.0 to 25"),
        (GOOD | {"x": np.full((10, 6, 8), np.nan)}, "x: wanted floats in 0..1, got nan"),
        (GOOD | {"x": np.where(labels(10)[:, None, None] == 1, np.nan, np.zeros((10, 6, 8)))}, "got nan to nan"),
        (GOOD | {"x": np.full((10, 6, 8), -0.1)}, "x: wanted floats in 0..1, got -0.1"),
        (GOOD | {"x": np.array([None] * 10, dtype=object)}, "x: wanted an array without Python objects"),
        (GOOD | {"classes": np.array(["a"])}, "classes: wanted 2 or more strings"),
        (GOOD | {"classes": np.array([1, 2])}, "classes: wanted 2 or more strings, got int64"),
        (GOOD | {"classes": np.array(["a", "a"])}, "classes: wanted each name once"),
        (TRAIN | {"x_test": images(4, 5, 5), "y_test": labels(4)}, "test: wanted images"),
        (TRAIN | {"x_test": images(4), "y_test": labels(4) + 1}, "class '2': wanted 2 or more training pictures"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, arrays, message):
    path = saved(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        load_arrays(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_files_that_are_no_archives(tmp_path):
    path = tmp_path / "file.npz"
    with pytest.raises(ValueError, match="no file"):
        load_arrays(path)
    path.write_text("text")
    with pytest.raises(ValueError, match=r"wanted an .npz file of NumPy"):
        load_arrays(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"wanted an .npz file of NumPy"):
        load_arrays(path)
    with path.open("wb") as file:
        np.save(file, images(4))
    with pytest.raises(ValueError, match="got one array"):
        load_arrays(path)


def test_damaged_archives(tmp_path):
    content = saved(tmp_path, **GOOD).read_bytes()
    path = tmp_path / "file.npz"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"file.npz: wanted"):
        load_arrays(path)
    path.write_bytes(content[:200] + bytes(byte ^ 0xFF for byte in content[200:300]) + content[300:])
    with pytest.raises(ValueError, match=r"file.npz: x: wanted"):
        load_arrays(path)
