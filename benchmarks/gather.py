"""How long a plain loop takes that merely reads the pixels of a linear warp, one by one."""

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import unwarp
from unwarp.coordinates import to_pixel

SOURCE = Path(__file__).with_suffix(".cpp")


def reads(image: Tensor, matrix: Tensor) -> Callable[[], Any]:
    """A call that reads, for each sample of a warp of `image` to its own size, the pixels around it, places given."""
    size = image.shape[2:]
    corner = to_pixel(unwarp.LinearMap(matrix).grid(size), size).floor().flatten(1, -2)
    stride, first = 1, torch.zeros(corner.shape[:2], dtype=torch.int32)
    strides = []
    for axis, extent in enumerate(reversed(size)):
        first += corner[..., axis].clamp(0, extent - 2).int() * stride
        strides.append(stride)
        stride *= extent
    taps = torch.tensor([sum(c) for c in product(*((0, step) for step in strides))], dtype=torch.int32)
    image, out = image.contiguous(), torch.empty_like(image)
    planes = image.shape[0] * image.shape[1]
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (image, first, out)]
    counts = [ctypes.c_int64(n) for n in (planes, image.shape[1], size.numel(), size.numel())]
    tail = (ctypes.c_void_p(taps.data_ptr()), len(taps), torch.get_num_threads())
    kept = (image, first, out, taps)
    return lambda: (_library().gather(*pointers, *counts, *tail), kept)


@cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "gather.so"
        options = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC"]
        subprocess.run(["c++", *options, str(SOURCE), "-o", str(built)], check=True)
        return ctypes.CDLL(str(built))
