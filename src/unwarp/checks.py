"""The door: bad input becomes one clear error that names the argument, what it got and what it wants."""

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

IMAGE_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8)
COORDINATE_DTYPES = (torch.float32, torch.float64)
_MOST = 2**63 - 1


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"{name}: wanted one of {', '.join(choices)}; got {value!r}")


def check_tensor(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is a tensor, and a dense one."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: wanted a torch.Tensor, got {type(value).__name__}")
    if value.layout != torch.strided:
        raise TypeError(f"{name}: wanted a dense tensor, got {value.layout}; convert it with .to_dense()")
    if value.is_nested:
        raise TypeError(f"{name}: wanted a tensor of one shape, got a nested one")


def check_ndim(ndim: Any, choices: Sequence[int] = (1, 2, 3)) -> None:
    """Raise TypeError or ValueError unless `ndim` is an integer of `choices`."""
    check_count("ndim", ndim)
    if ndim not in choices:
        raise ValueError(f"ndim: wanted one of {', '.join(map(str, choices))}; got {ndim}")


def check_image(image: Any, name: str = "image") -> None:
    """Raise unless `image` is `[N, C, *in]` with 1 to 3 spatial axes, none empty, of a dtype that can be sampled."""
    check_tensor(name, image)
    if image.dtype not in IMAGE_DTYPES:
        wanted = ", ".join(str(dtype).removeprefix("torch.") for dtype in IMAGE_DTYPES)
        raise TypeError(f"{name}: wanted a dtype of {wanted}; got {image.dtype}; convert it with .float()")
    if not 3 <= image.ndim <= 5:
        raise ValueError(f"{name}: wanted [N, C, *spatial] with 1 to 3 spatial axes, got shape {list(image.shape)}")
    if any(extent < 1 for extent in image.shape[2:]):
        raise ValueError(f"{name}: wanted at least one pixel along each spatial axis, got shape {list(image.shape)}")


def check_size(size: Any, ndim: int, name: str = "size") -> None:
    """Raise unless `size` is a sequence of `ndim` positive integers, spatial extents in the order of the axes."""
    if not isinstance(size, Sequence):
        raise TypeError(f"{name}: wanted a tuple of {ndim} integers, got {type(size).__name__}")
    if len(size) != ndim:
        raise ValueError(f"{name}: wanted {ndim} extents, got {tuple(size)}")
    for extent in size:
        if not _is_whole(extent) or extent < 1 or extent > _MOST:
            raise ValueError(f"{name}: wanted integers of at least 1, got {tuple(size)}")


def _is_whole(value: Any) -> bool:
    """Whether that is an integer, or stands for one where a program is traced."""
    if isinstance(value, Tensor):
        return value.ndim == 0 and not value.is_floating_point() and not value.is_complex()
    return isinstance(value, (Integral, torch.SymInt)) and not isinstance(value, bool)


def check_coordinates(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is float32 or float64: half precision has lost the position already."""
    check_tensor(name, value)
    if value.dtype not in COORDINATE_DTYPES:
        raise TypeError(f"{name}: wanted float32 or float64 coordinates, got {value.dtype}; compute them in float32")


def check_points(points: Any, ndim: int, batch: Sequence[int]) -> None:
    """Raise unless `points` is `[*batch, ..., ndim]`; a batch axis of the points may also be 1."""
    check_coordinates("points", points)
    leading = points.shape[: len(batch)]
    fits = points.ndim > len(batch) and points.shape[-1] == ndim
    if not fits or any(have not in (1, want) and want != 1 for have, want in zip(leading, batch, strict=True)):
        raise ValueError(f"points: wanted {[*batch, '...', ndim]} (batch axes may be 1), got {list(points.shape)}")


def check_theta(theta: Any, num_params: int, owner: str) -> None:
    """Raise unless `theta` is a floating tensor `[N, P]` or `[N, K, P]` with `P = num_params`."""
    check_tensor("theta", theta)
    if not theta.is_floating_point():
        raise TypeError(f"theta: wanted a floating dtype, got {theta.dtype}")
    if theta.ndim not in (2, 3) or theta.shape[-1] != num_params:
        raise ValueError(
            f"theta: wanted [N, {num_params}] or [N, K, {num_params}] for {owner}, got {list(theta.shape)}"
        )


def check_matrix(matrix: Any) -> None:
    """Raise unless `matrix` is `[N, D, D+1]` or `[N, D+1, D+1]` (or with K after N), D 1 to 3, float32 or float64."""
    check_coordinates("matrix", matrix)
    rows, columns = (matrix.shape[-2], matrix.shape[-1]) if matrix.ndim in (3, 4) else (0, 0)
    if not 2 <= columns <= 4 or rows not in (columns - 1, columns):
        raise ValueError(f"matrix: wanted [N, D, D+1] or [N, D+1, D+1], got {list(matrix.shape)}")


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raise TypeError or ValueError unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: wanted an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: wanted at least {least}, got {value}")


def check_counts(name: str, values: Any) -> None:
    """Raise TypeError or ValueError unless `values` is a sequence of integers of at least 1."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"{name}: wanted a tuple of integers, got {values!r}")
    for value in values:
        check_count(name, value)


def check_positive(name: str, value: float, *, allow_zero: bool = False) -> None:
    """Raise TypeError or ValueError unless `value` is a finite number over zero (or zero, where allowed)."""
    if not isinstance(value, Real):
        raise TypeError(f"{name}: wanted a number, got {type(value).__name__}")
    if not (0 <= value < float("inf")) or (value == 0 and not allow_zero):
        raise ValueError(f"{name}: wanted a number {'of at least' if allow_zero else 'over'} 0, got {value}")
