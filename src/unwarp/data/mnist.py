"""MNIST: 70,000 handwritten digits of 28 by 28 pixels (LeCun, Cortes, Burges), from its four IDX files."""

import gzip
import math
import struct
from pathlib import Path

import torch
from torch import Tensor

from unwarp.data.pictures import Pictures, Splits, split_off
from unwarp.data.storage import fetch

_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_MD5 = {
    "train-images-idx3-ubyte.gz": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte.gz": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte.gz": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte.gz": "27ae3e4e09519cfbb04c329615203637",
}
_CLASSES = tuple("0123456789")
_IDX_UINT8 = 8


def load_mnist(validation: int = 5000, seed: int = 0) -> Splits:
    """55,000 training, 5,000 validation and 10,000 test pictures, 28×28, grey.

    Args:
        validation: how many of the 60,000 training pictures are kept for validation, the same share of each digit.
        seed: of that choice.

    Raises:
        ValueError: for a number that leaves a digit out of one of the parts, or a file that is not the right one.
        OSError: if a file is neither there nor can be downloaded; see `unwarp.data.storage.fetch`.
    """
    pictures = _part("train", "train")
    if not len(_CLASSES) <= validation <= len(pictures) - len(_CLASSES):
        raise ValueError(
            f"validation: wanted {len(_CLASSES)} to {len(pictures) - len(_CLASSES)} pictures, got {validation}"
        )
    train, held_out = split_off(pictures, validation / len(pictures), seed)
    return Splits(train, held_out, _part("t10k", "test"))


def read_idx(path: Path, ndim: int) -> Tensor:
    """The uint8 array with `ndim` axes of a gzipped IDX file. ValueError, naming the file, for other content."""
    with gzip.open(path) as file:
        content = file.read()
    magic, start = bytes((0, 0, _IDX_UINT8, ndim)), 4 + 4 * ndim
    if content[:4] != magic or len(content) < start:
        raise ValueError(f"{path}: wanted an IDX file that begins with {magic.hex()}, got {content[:start].hex()}")
    shape = struct.unpack(f">{ndim}I", content[4:start])
    if len(content) - start != math.prod(shape) or 0 in shape:
        raise ValueError(
            f"{path}: wanted a byte for each of {list(shape)} values, none empty; got {len(content) - start} bytes"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)


def _part(prefix: str, part: str) -> Pictures:
    images, labels = (
        read_idx(fetch("mnist", name, url=_MIRROR + name, md5=_MD5[name]), ndim)
        for name, ndim in ((f"{prefix}-images-idx3-ubyte.gz", 3), (f"{prefix}-labels-idx1-ubyte.gz", 1))
    )
    return Pictures(images.unsqueeze(1), labels.long(), _CLASSES, tuple(f"{part}/{row}" for row in range(len(images))))
