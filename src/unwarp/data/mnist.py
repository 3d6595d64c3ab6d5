"""MNIST, from its four IDX files (LeCun, Cortes and Burges)."""

import struct

import torch
from torch import Tensor

from unwarp.data.pictures import Pictures, Splits, split_off
from unwarp.data.storage import fetch_gzip

_SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# md5 of the unpacked bytes.
_MD5 = {
    "train-images-idx3-ubyte.gz": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte.gz": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte.gz": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte.gz": "27ae3e4e09519cfbb04c629615203637",
}
_UNSIGNED_BYTE = 8
_VALIDATION = 1 / 12


def load_mnist(seed: int = 0) -> Splits:
    """55,000 training, 5,000 validation and 10,000 test pictures, 28×28, grey; the validation part is drawn by `seed`.

    Raises:
        ValueError, OSError: see `unwarp.data.storage.fetch_gzip`.
    """
    rest, validation = split_off(_part("train"), _VALIDATION, seed)
    return Splits(rest, validation, _part("t10k"))


def parse_idx(content: bytes, name: str) -> Tensor:
    """The array in an IDX file of unsigned bytes. ValueError, naming the file, if it is none."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise ValueError(f"{name}: wanted an IDX file of unsigned bytes, got the first bytes {content[:4].hex()}")
    ndim = content[3]
    start = 4 + 4 * ndim
    shape = struct.unpack(f">{ndim}I", content[4:start]) if len(content) >= start else ()
    expected = start + int(torch.tensor(shape).prod()) if shape else start
    if len(content) != expected:
        raise ValueError(f"{name}: wanted {expected} bytes for shape {list(shape)}, got {len(content)}")
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(shape)


def _part(part: str) -> Pictures:
    arrays = []
    for kind in ("images-idx3", "labels-idx1"):
        name = f"{part}-{kind}-ubyte.gz"
        arrays.append(parse_idx(fetch_gzip("mnist", name, _SOURCE + name, _MD5[name]), name))
    images, labels = arrays
    names = tuple(f"{part}/{row}" for row in range(len(images)))
    return Pictures(images.unsqueeze(1), labels.long(), tuple("0123456789"), names)
