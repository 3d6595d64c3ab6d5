"""Cases that every kernel is tried on, and what it must compute: what `reference.py` does."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from unwarp.sampling import PADDINGS, reference

KINDS = ("near", "far", "singular", "huge", "projective", "grid", "wild grid")


class Kernels(Protocol):
    """A module with the three operators."""

    read: Any
    grad_image: Any
    grad_coordinates: Any


class Case(NamedTuple):
    image: Tensor
    coordinates: Tensor
    grad_out: Tensor
    how: tuple[bool, str, tuple[str, ...]]  # linear, mode, padding
    fill: Tensor | None

    @property
    def size(self) -> tuple[int, ...]:
        return tuple(self.grad_out.shape[2:])


def coordinates_of(kind: str, count: int, size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    ndim = len(size)
    if "grid" in kind:
        points = 2.4 * torch.rand(count, torch.Size(size).numel(), ndim, dtype=dtype) - 1.2
        return _made_wild(points, (1e30, -1e30)) if kind == "wild grid" else points
    matrix = torch.eye(ndim + 1, dtype=dtype).repeat(count, 1, 1)
    strength = {"far": 3.0, "singular": 0.0, "huge": 100.0, "projective": 0.4}.get(kind, 0.2)
    matrix = matrix * (kind != "singular") + strength * torch.randn(matrix.shape, dtype=dtype)
    matrix = _made_wild(matrix) if "wild" in kind else matrix
    return matrix if "projective" in kind else matrix[:, :-1]


def _made_wild(values: Tensor, more: Sequence[float] = ()) -> Tensor:
    wild = torch.tensor([torch.nan, torch.inf, -torch.inf, 5.0, -1.0, 1.0, *more], dtype=values.dtype)
    return torch.where(torch.rand(values.shape) < 0.3, wild[torch.randint(len(wild), values.shape)], values)


def draw(
    data: st.DataObject,
    mode: str,
    ndim: int,
    *,
    extents: Sequence[int],
    channels: Sequence[int],
    images: Sequence[int] = (0, 1, 2, 5),
    kinds: Sequence[str] = KINDS,
) -> Case:
    """A case in float64, with a padding for each axis."""
    torch.manual_seed(data.draw(st.integers(0, 10_000)))
    extent = st.sampled_from(extents)
    in_size = tuple(data.draw(extent) for _ in range(ndim))
    out_size = tuple(data.draw(extent) for _ in range(ndim))
    count, maps = data.draw(st.sampled_from(images)), data.draw(st.sampled_from([1, 2, 3]))
    depth = data.draw(st.sampled_from(channels))
    kind = data.draw(st.sampled_from(kinds))
    words = data.draw(st.sampled_from([("zeros", *PADDINGS[2:]), PADDINGS[1:]]))
    padding = tuple(data.draw(st.sampled_from(words)) for _ in range(ndim))
    return Case(
        torch.randn(count, depth, *in_size, dtype=torch.float64),
        coordinates_of(kind, count * maps, out_size, torch.float64),
        torch.randn(count * maps, depth, *out_size, dtype=torch.float64),
        ("grid" not in kind, mode, padding),
        torch.randn(depth, dtype=torch.float64) if "constant" in padding else None,
    )


def check(kernels: Kernels, case: Case) -> None:
    """Values and both gradients are those of the reference, whatever lies in the memory that they are written to."""
    image, coordinates = case.image.clone().requires_grad_(), case.coordinates.clone().requires_grad_()
    wanted = reference.read(image, coordinates, case.size, *case.how, case.fill)
    gradients = torch.autograd.grad(wanted, (image, coordinates), case.grad_out, materialize_grads=True)
    with Poison():
        found = kernels.read(case.image, case.coordinates, case.size, *case.how, case.fill)
        for_image = kernels.grad_image(case.grad_out, case.coordinates, case.image, *case.how)
        at = kernels.grad_coordinates(case.grad_out, case.image, case.coordinates, *case.how, case.fill)
    torch.testing.assert_close(found, wanted.detach())
    torch.testing.assert_close(for_image, gradients[0])
    torch.testing.assert_close(at, gradients[1], atol=1e-6, rtol=1e-6)


def check_wild(kernels: Kernels, kind: str, ndim: int, padding: str, device: str = "cpu") -> None:
    """What matrices that are not finite read, and give back, is that of the reference.

    Their own gradient has no value that could be called right, and no other map may notice.
    """
    size, how = (3, 4, 5)[:ndim], (True, "linear", (padding,) * ndim)
    image = torch.randn(1, 2, *(4, 3, 5)[:ndim], dtype=torch.float64, device=device)
    matrices = coordinates_of(kind, 12, size, torch.float64).to(device)
    grad_out = torch.randn(12, 2, *size, dtype=torch.float64, device=device)
    wanted = reference.read(image.requires_grad_(), matrices, size, *how, None)
    (of_image,) = torch.autograd.grad(wanted, image, grad_out)
    image = image.detach()
    torch.testing.assert_close(kernels.read(image, matrices, size, *how, None), wanted.detach())
    torch.testing.assert_close(kernels.grad_image(grad_out, matrices, image, *how), of_image)
    own = kernels.grad_coordinates(grad_out, image, matrices, *how, None)
    tame = matrices.flatten(1).isfinite().all(1)
    assert tame.any()
    torch.testing.assert_close(own[tame], kernels.grad_coordinates(grad_out[tame], image, matrices[tame], *how, None))


class Poison(TorchDispatchMode):
    """Fills every new tensor that has no values yet with what should not be seen again."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if "empty" in func.__name__ and result.numel():
            result.fill_(torch.nan if result.is_floating_point() else 113)
        return result
