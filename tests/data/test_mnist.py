import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from unwarp.data import mnist, storage
from unwarp.data.mnist import load_mnist, read_idx


def idx(array: np.ndarray) -> bytes:
    return (
        bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """Forty training and twenty test pictures in the files of MNIST."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    random = np.random.default_rng(0)
    for prefix, count in (("train", 40), ("t10k", 20)):
        arrays = {"images-idx3": random.integers(0, 256, (count, 28, 28)), "labels-idx1": np.arange(count) % 10}
        for kind, array in arrays.items():
            name, content = f"{prefix}-{kind}-ubyte.gz", idx(array)
            (folder / name).write_bytes(gzip.compress(content))
            monkeypatch.setitem(mnist._MD5, name, hashlib.md5(content).hexdigest())
    monkeypatch.setenv("UNWARP_DATA", str(tmp_path))
    return folder


def test_parts_classes_and_names(small_mnist):
    splits = load_mnist(validation=10)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [30, 10, 20]
    assert splits.train.images.shape[1:] == (1, 28, 28)
    assert splits.test.classes == tuple("0123456789")
    assert splits.test.names[3] == "test/3"
    assert splits.validation.labels.sort().values.tolist() == list(range(10))
    assert not set(splits.train.names) & set(splits.validation.names)


def test_the_validation_part_depends_on_the_seed_and_the_test_part_does_not(small_mnist):
    one, same, other = (load_mnist(validation=10, seed=seed) for seed in (0, 0, 1))
    assert one.validation.names == same.validation.names != other.validation.names
    assert torch.equal(one.test.images, other.test.images)


@pytest.mark.parametrize("validation", [0, 9, 31, 40])
def test_a_validation_part_that_leaves_a_digit_out_is_refused(small_mnist, validation):
    with pytest.raises(ValueError, match="validation: wanted 10 to 30"):
        load_mnist(validation=validation)


def test_a_changed_file_is_refused(small_mnist, monkeypatch):
    path = small_mnist / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(20))))
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte.gz: wanted unpacked md5"):
        load_mnist(validation=10)


def test_a_missing_file_without_network_says_what_to_do(small_mnist, monkeypatch):
    def no_network(url: str, path: Path) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(storage, "_download", no_network)
    monkeypatch.setattr("pooch.os_cache", lambda project: small_mnist / "none")
    (small_mnist / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(OSError, match=r"train-images-idx3-ubyte.gz.*UNWARP_DATA"):
        load_mnist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with 00000803"),
        (idx(np.zeros((2, 3))), "begins with 00000803"),
        (b"\0\0\x0d\3" + idx(np.zeros((2, 3, 4)))[4:], "begins with 00000803"),
        (idx(np.zeros((2, 3, 4)))[:12], "begins with 00000803"),
        (idx(np.zeros((2, 3, 4)))[:-1], r"each of \[2, 3, 4\] values, none empty; got 23 bytes"),
        (idx(np.zeros((2, 3, 4))) + b"\0", "got 25 bytes"),
        (idx(np.zeros((0, 3, 4))), "none empty"),
    ],
)
def test_read_idx_refuses_other_content(tmp_path, content, message):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)


def test_read_idx_returns_what_was_written(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (2, 3, 4))
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(idx(array)))
    assert read_idx(path, 3).tolist() == array.tolist()


def test_real_mnist():
    folder = Path(os.environ.get("UNWARP_DATA", ""), "mnist")
    missing = [name for name in mnist._MD5 if not (folder / name).is_file()]
    if missing:
        pytest.skip(f"UNWARP_DATA has no mnist/{missing[0]}")
    splits = load_mnist()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [55_000, 5_000, 10_000]
    whole = torch.cat([splits.train.labels, splits.validation.labels]).bincount()
    assert (splits.validation.labels.bincount() - whole / 12).abs().max() < 1
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert abs(splits.train.images.float().mean().item() / 255 - 0.1307) < 1e-3
