"""From pixels to B-spline coefficients: the inverse of reading the coefficients at the pixel centres.

Defined so for every padding, a spline goes through every pixel, at the border as well. The theory, for an endless
signal: Unser, Aldroubi and Eden, "B-spline signal processing: part I", IEEE Trans. Signal Processing 41(2), 1993.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from unwarp.sampling.modes import read_index, taps

_library = torch.library.Library("unwarp", "FRAGMENT")
_library.define("spline_coefficients(Tensor image, str mode, str[] padding, bool transposed) -> Tensor")


def spline_coefficients(image: Tensor, mode: str, padding: Sequence[str]) -> Tensor:
    """B-spline coefficients of `image [N, C, *in]`, of its shape, in float32 or float64."""
    if image.dtype != torch.float64:
        image = image.float()
    return torch.ops.unwarp.spline_coefficients.default(image, mode, tuple(padding), False)


@lru_cache(maxsize=16)
def _inverse(count: int, mode: str, padding: str) -> Tensor:
    positions = torch.arange(count, dtype=torch.float64)
    matrix = torch.zeros(count, count, dtype=torch.float64)
    rows = torch.arange(count)
    for index, weight in taps(positions, 0.0, mode):
        assert weight is not None
        index, valid = read_index(index, count, padding)
        weight = weight if valid is None else weight * valid
        matrix.index_put_((rows, index.long()), weight, accumulate=True)
    return torch.linalg.inv(matrix)


def _filter(image: Tensor, mode: str, padding: Sequence[str], transposed: bool) -> Tensor:
    for axis, beyond in enumerate(padding, start=2):
        inverse = _inverse(image.shape[axis], mode, "zeros" if beyond == "constant" else beyond)
        inverse = inverse.to(image.device, image.dtype)
        # Outside any autocast: coefficients in half precision would not go through the pixels.
        with torch.autocast(image.device.type, enabled=False):
            image = (image.movedim(axis, -1) @ (inverse if transposed else inverse.T)).movedim(-1, axis)
    return image.contiguous()


_library.impl("spline_coefficients", _filter, "CompositeExplicitAutograd")


@torch.library.register_fake("unwarp::spline_coefficients", lib=_library)
def _(image: Tensor, mode: str, padding: Sequence[str], transposed: bool) -> Tensor:
    # Here, not in the function above: torch.onnx.export would only try another way of tracing it.
    if torch.onnx.is_in_onnx_export():
        raise NotImplementedError(
            f"mode: wanted nearest, linear or cubic for ONNX, got {mode}: ONNX has no operator that finds the "
            "coefficients of a spline"
        )
    return torch.empty_like(image, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, *ctx.words = inputs


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    mode, padding, transposed = ctx.words
    return torch.ops.unwarp.spline_coefficients(grad, mode, padding, not transposed), None, None, None


def _vmap(info: Any, in_dims: Sequence[int | None], image: Tensor, *words: Any) -> tuple[Tensor, int]:
    dim = in_dims[0]
    assert dim is not None
    folded = image.movedim(dim, 0).flatten(0, 1)
    return torch.ops.unwarp.spline_coefficients(folded, *words).unflatten(0, (info.batch_size, -1)), 0


torch.library.register_autograd("unwarp::spline_coefficients", _backward, setup_context=_keep, lib=_library)
torch.library.register_vmap("unwarp::spline_coefficients", _vmap, lib=_library)
