"""The sampler on GPUs, by Triton kernels: which cases they take, and the operators.

Triton comes with builds of torch for CUDA on Linux, and wants a C compiler. It is imported when the first tensor of a
GPU is sampled, and launches on the current device, which the operators make that of the tensors.
"""

import os
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from shutil import which

import torch
from torch import Tensor

from unwarp.sampling import reference
from unwarp.sampling.modes import taps_of

# Every pixel that a sample reads is a piece of code: with more of them, compiling takes minutes.
_MOST_TAPS = 64


def _missing() -> str:
    if find_spec("triton") is None:
        return "Triton"
    # It compiles a launcher for every kernel; images of containers often lack what to do that with.
    return "" if os.environ.get("CC") or which("gcc") or which("clang") else "C compiler"


# What the kernels want and do not find; "" if nothing.
MISSING = _missing()
if torch.version.cuda and MISSING:
    warnings.warn(f"no {MISSING}, which kernels want: sampling on GPUs is correct, but slow", stacklevel=2)


def supports(image: Tensor, mode: str) -> bool:
    """Whether kernels do this: all but splines of degree 4 and 5 in volumes."""
    return image.is_cuda and not MISSING and _is_written(image, mode)


def _is_written(image: Tensor, mode: str) -> bool:
    return taps_of(mode) ** (image.ndim - 2) <= _MOST_TAPS


def read(
    image: Tensor,
    coordinates: Tensor,
    size: Sequence[int],
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: Tensor | None,
) -> Tensor:
    """See `reference.read`, which does what is not supported."""
    if not _is_written(image, mode):
        return reference.read(image, coordinates, size, linear, mode, padding, fill)
    from unwarp.sampling.gpu import launch

    with _current(image.device):
        return launch.read(image, coordinates, size, linear, mode, padding, fill)


def grad_image(
    grad_out: Tensor,
    coordinates: Tensor,
    like: Tensor,
    linear: bool,
    mode: str,
    padding: Sequence[str],
) -> Tensor:
    """See `launch.grad_image`. NotImplementedError for what is not supported."""
    _want_written(like, mode)
    from unwarp.sampling.gpu import launch

    with _current(like.device):
        return launch.grad_image(grad_out, coordinates, like, linear, mode, padding)


def grad_coordinates(
    grad_out: Tensor,
    image: Tensor,
    coordinates: Tensor,
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: Tensor | None,
) -> Tensor:
    """See `launch.grad_coordinates`. NotImplementedError for what is not supported."""
    _want_written(image, mode)
    from unwarp.sampling.gpu import launch

    with _current(image.device):
        return launch.grad_coordinates(grad_out, image, coordinates, linear, mode, padding, fill)


def gradients(
    grad_out: Tensor,
    image: Tensor,
    coordinates: Tensor,
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """See `launch.gradients`. NotImplementedError for what is not supported."""
    _want_written(image, mode)
    from unwarp.sampling.gpu import launch

    with _current(image.device):
        return launch.gradients(grad_out, image, coordinates, linear, mode, padding, fill)


def _current(device: torch.device) -> AbstractContextManager[object]:
    # To make current what is so already takes longer than to ask.
    return nullcontext() if device.index == torch.cuda.current_device() else torch.cuda.device(device)


def _want_written(image: Tensor, mode: str) -> None:
    # Only programs that were exported from the CPU come here with it; `ops.read` takes the reference.
    if not _is_written(image, mode):
        raise NotImplementedError(f"gradients of an exported program on a GPU: not for {mode} in volumes")
