import os
import runpy
from collections.abc import Callable
from pathlib import Path

# Beside other workers each has one thread: more threads than cores wait for each other, up to ten times as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from unwarp.coordinates import identity_grid
from unwarp.transforms import (
    Affine,
    Attention,
    Projective,
    Rotation,
    Similarity,
    ThinPlateSpline,
    Transform,
    Translation,
)

# Without a GPU its kernels are interpreted. Triton looks at this when it is imported, whoever does it first.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Drawn cases take as long as they take; the seed is fixed, so that a failure is the same everywhere.
settings.register_profile("unwarp", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("unwarp")

LINEAR: list[Callable[[int], Transform]] = [Translation, Attention, Rotation, Similarity, Affine, Projective]
_EXAMPLE = runpy.run_path(str(Path(__file__).resolve().parents[1] / "examples" / "own_transform.py"))
# A transform of a user's own has to keep the same laws.
TRANSFORMS_2D: list[Transform] = [*(family(2) for family in LINEAR), ThinPlateSpline((4, 4)), _EXAMPLE["Squeeze"]()]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def random_theta(transform: Transform, count: int, strength: float = 0.15) -> Tensor:
    """Theta near the identity, float64."""
    return transform.identity.double() + strength * torch.randn(count, transform.num_params, dtype=torch.float64)


def random_points(count: int, points: int, ndim: int) -> Tensor:
    return 2 * torch.rand(count, points, ndim, dtype=torch.float64) - 1


def smooth_images(count: int, channels: int, size: tuple[int, ...]) -> Tensor:
    """Pictures so smooth that interpolating them twice hardly matters, and dark at the border; float64."""
    points = identity_grid(size, dtype=torch.float64)
    waves = torch.randn(count, channels, 4, len(size), dtype=torch.float64)
    phase = 6 * torch.rand(count, channels, 4, dtype=torch.float64)
    total = torch.zeros(count, channels, *size, dtype=torch.float64)
    for wave in range(4):
        angle = (waves[:, :, wave] @ points.flatten(0, -2).T).unflatten(-1, size)
        total = total + torch.sin(angle + phase[:, :, wave].reshape(count, channels, *(1,) * len(size)))
    window = (1 - points.square()).square().prod(-1)
    return total * window
