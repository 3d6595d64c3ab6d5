"""The sampler on GPUs, by Triton kernels: which cases they take, and the operators.

Triton comes with builds of torch for CUDA on Linux. It is imported when the first tensor of a GPU is sampled.
"""

import warnings
from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor

AVAILABLE = find_spec("triton") is not None
if torch.version.cuda and not AVAILABLE:
    warnings.warn("Triton is not installed: sampling on GPUs is correct, but slow", stacklevel=2)


def supports(image: Tensor, coordinates: Tensor) -> bool:
    """Whether kernels do this: all but footprints. The rest of what a GPU is asked for is up to the reference."""
    return image.is_cuda and AVAILABLE and coordinates.ndim == 3


def read(
    image: Tensor,
    coordinates: Tensor,
    size: Sequence[int],
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: Tensor | None,
) -> Tensor:
    """See `reference.read`."""
    from unwarp.sampling.gpu import launch

    return launch.read(image, coordinates, size, linear, mode, padding, fill)


def grad_image(
    grad_out: Tensor,
    coordinates: Tensor,
    like: Tensor,
    linear: bool,
    mode: str,
    padding: Sequence[str],
) -> Tensor:
    """See `launch.grad_image`."""
    from unwarp.sampling.gpu import launch

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
    """See `launch.grad_coordinates`."""
    from unwarp.sampling.gpu import launch

    return launch.grad_coordinates(grad_out, image, coordinates, linear, mode, padding, fill)
