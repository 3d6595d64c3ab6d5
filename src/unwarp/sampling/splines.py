"""From pixels to B-spline coefficients: the inverse of reading the coefficients at the pixel centres.

Defined so for every padding, a spline goes through every pixel, at the border as well. The theory, for an endless
signal: Unser, Aldroubi and Eden, "B-spline signal processing: part I", IEEE Trans. Signal Processing 41(2), 1993.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from unwarp.coordinates import matmul
from unwarp.sampling import cpu
from unwarp.sampling.modes import read_index, taps
from unwarp.sampling.ops import is_inside

# The weight of a pixel k places away falls as 0.43 to the power of k (the largest pole, of degree 5): after so many
# places it is less than float64 resolves: what comes round a "wrap" is needed no further, and where the inverse is
# multiplied with, long axes are filtered piece by piece.
_REACH, _PIECE = 48, 256
_NOTHING = 1e-18

_library = torch.library.Library("unwarp", "FRAGMENT")
_library.define("spline_coefficients(Tensor image, str mode, str[] padding, bool transposed) -> Tensor")


def spline_coefficients(image: Tensor, mode: str, padding: Sequence[str], *, transposed: bool = False) -> Tensor:
    """B-spline coefficients of `image [N, C, *in]`, of its shape, in float32 or float64; or the transpose of that."""
    if image.dtype != torch.float64:
        image = image.float()
    return _coefficients(image, mode, tuple(padding), transposed)


def _entries(count: int, mode: str, padding: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows, columns and values, to be added up, of the matrix that reads `count` pixels from their coefficients."""
    rows = torch.arange(count)
    for index, weight in taps(rows.double(), 0.0, mode):
        assert weight is not None
        if not weight.any():
            continue  # the farthest of an odd degree
        index, valid = read_index(index, count, padding)
        yield rows, index.long(), weight if valid is None else weight * valid


@lru_cache(maxsize=16)
def _diagonals(count: int, mode: str, padding: str, transposed: bool) -> Tensor:
    """`[count, 5]`: the matrix, or its transpose, where it is not zero."""
    diagonals = torch.zeros(count, 5, dtype=torch.float64)
    for rows, columns, weights in _entries(count, mode, padding):
        if transposed:
            rows, columns = columns, rows
        diagonals.index_put_((rows, columns - rows + 2), weights, accumulate=True)
    return diagonals


@lru_cache(maxsize=16)
def _inverse(count: int, mode: str, padding: str) -> Tensor:
    matrix = torch.zeros(count, count, dtype=torch.float64)
    for rows, columns, weights in _entries(count, mode, padding):
        matrix.index_put_((rows, columns), weights, accumulate=True)
    inverse = torch.linalg.inv(matrix)
    # Far from the diagonal they are less than float64 resolves, and in float32 subnormal, which is twenty times slower.
    return inverse.where(inverse.abs() > _NOTHING, 0)


@lru_cache(maxsize=16)
def _inverse_on(device: torch.device, dtype: torch.dtype, count: int, mode: str, padding: str) -> Tensor:
    # Kept: to bring it there, the device would have to be waited for.
    return _inverse(count, mode, padding).to(device, dtype)


def _solve(image: Tensor, mode: str, padding: Sequence[str], transposed: bool) -> Tensor:
    """What the compiled kernels do, bit for bit the same whatever the number of threads."""
    result = image.clone(memory_format=torch.contiguous_format)
    if not result.numel():
        return result
    for axis, beyond in enumerate(padding, start=2):
        around, ends = (_REACH, "zeros") if beyond == "wrap" else (0, _outside(beyond))
        diagonals = _diagonals(result.shape[axis] + 2 * around, mode, ends, transposed)
        cpu.prefilter(result, axis, around, diagonals)
    return result


def _outside(padding: str) -> str:
    # The coefficients are those of the image less its fill.
    return "zeros" if padding == "constant" else padding


def _filter(image: Tensor, mode: str, padding: Sequence[str], transposed: bool) -> Tensor:
    for axis, beyond in enumerate(padding, start=2):
        lines = _filter_lines(image.movedim(axis, -1), mode, _outside(beyond), transposed)
        image = lines.movedim(-1, axis)
    return image.contiguous()


def _filter_lines(lines: Tensor, mode: str, padding: str, transposed: bool) -> Tensor:
    count = lines.shape[-1]
    inverse = _inverse_on(lines.device, lines.dtype, min(count, _PIECE), mode, padding)
    across = inverse if transposed else inverse.T
    if count <= _PIECE:
        return matmul(lines, across)
    if padding == "wrap":
        around = torch.cat([lines[..., -_REACH:], lines, lines[..., :_REACH]], dim=-1)
        return _in_pieces(around, across)[..., _REACH:-_REACH]
    return _in_pieces(lines, across)


def _in_pieces(lines: Tensor, across: Tensor) -> Tensor:
    """Overlapping pieces; of each is kept what its cut ends do not reach."""
    out = torch.empty_like(lines)
    last = lines.shape[-1] - _PIECE
    for start in (*range(0, last, _PIECE - 2 * _REACH), last):
        low, high = 0 if start == 0 else _REACH, _PIECE if start == last else _PIECE - _REACH
        piece = matmul(lines[..., start : start + _PIECE], across)
        out[..., start + low : start + high] = piece[..., low:high]
    return out


_library.impl("spline_coefficients", _filter, "CompositeExplicitAutograd")
if cpu.COMPILED:
    _library.impl("spline_coefficients", _solve, "CPU")


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
    return _coefficients(grad, mode, padding, not transposed), None, None, None


def _vmap(
    info: Any,
    in_dims: Sequence[int | None],
    image: Tensor,
    *words: Any,
    call: Callable[..., Tensor] = torch.ops.unwarp.spline_coefficients,
) -> tuple[Tensor, int]:
    dim = in_dims[0]
    assert dim is not None
    image = image.movedim(dim, 0)
    return call(image.flatten(0, 1), *words).unflatten(0, image.shape[:2]), 0


class _Filtered(torch.autograd.Function):
    """The operator for torch.func and forward mode, which know no derivatives of operators of one's own."""

    setup_context = staticmethod(_keep)
    backward = staticmethod(_backward)  # pyright: ignore[reportAssignmentType]

    @staticmethod
    def forward(image: Tensor, mode: str, padding: Sequence[str], transposed: bool) -> Tensor:
        return torch.ops.unwarp.spline_coefficients.default(image, mode, padding, transposed)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_words: None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _coefficients(tangent, *ctx.words)

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], *arguments: Any) -> tuple[Tensor, int]:
        return _vmap(info, in_dims, *arguments, call=_coefficients)


def _coefficients(image: Tensor, mode: str, padding: Sequence[str], transposed: bool) -> Tensor:
    if torch.compiler.is_compiling():
        if forward_ad._current_level >= 0:
            primal, tangent = forward_ad.unpack_dual(image)
            if tangent is not None:
                value, along = (_coefficients(part, mode, padding, transposed) for part in (primal, tangent))
                return forward_ad.make_dual(value, along)
        if image.requires_grad and is_inside("Grad"):
            raise NotImplementedError(
                "mode: torch.compile finds no derivatives of B-splines inside torch.func.grad or vjp; wanted "
                "torch.autograd.grad there, or no compilation"
            )
        return torch.ops.unwarp.spline_coefficients.default(image, mode, padding, transposed)
    if torch._C._is_tracing():  # which fails at an operator with a list of words
        return _filter(image, mode, padding, transposed)
    return _Filtered.apply(image, mode, padding, transposed)  # pyright: ignore[reportReturnType]


torch.library.register_autograd("unwarp::spline_coefficients", _backward, setup_context=_keep, lib=_library)
torch.library.register_vmap("unwarp::spline_coefficients", _vmap, lib=_library)
