import math

import pytest
import torch

from unwarp.data import Extrusion
from unwarp.nn import project
from unwarp.warping import warp


def pictures(count: int = 6) -> torch.Tensor:
    images = torch.zeros(count, 1, 28, 28)
    images[:, :, 6:22, 10:18] = torch.rand(count, 1, 16, 8)
    return images


def made(seed: int = 0, **words: float) -> tuple[torch.Tensor, torch.Tensor, Extrusion]:
    torch.manual_seed(1)
    clean, extrusion = pictures(), Extrusion((28, 28), edge=40, **words)
    return clean, extrusion(clean, torch.Generator().manual_seed(seed)).images, extrusion


def test_the_seed_decides() -> None:
    assert torch.equal(made(3)[1], made(3)[1])
    assert not torch.equal(made(3)[1], made(4)[1])


def test_the_inverse_map_and_a_projection_give_the_picture_back() -> None:
    clean, _, extrusion = made()
    distorted = extrusion(clean, torch.Generator().manual_seed(0))
    straight = warp(distorted.images, distorted.pull.inverse(), (9, 28, 28))
    seen = project(straight) / 9
    inner = (..., slice(4, 24), slice(8, 20))
    correlation = torch.corrcoef(torch.stack([seen[inner].flatten(), clean[inner].flatten()]))[0, 1]
    assert correlation > 0.8


def test_the_body_is_wholly_inside_and_as_large_as_it_should_be() -> None:
    clean, volumes, _ = made(angle=math.pi / 4)
    border = volumes.clone()
    border[..., 1:-1, 1:-1, 1:-1] = 0
    assert border.sum() < 1e-3 * volumes.sum()
    # From pixels to voxels: 28 pixels are 28 / 60 of the edge, the thickness a third of that.
    factor = (40 / 60) ** 2 * (40 * 28 / 60 / 3)
    mass = volumes.sum((1, 2, 3, 4)) / (clean.sum((1, 2, 3)) * factor)
    torch.testing.assert_close(mass, torch.ones(6), atol=0.15, rtol=0)


def test_without_a_turn_the_front_is_the_picture_smaller() -> None:
    clean, volumes, _ = made(angle=0.0)
    fronts = project(volumes)
    for front, picture in zip(fronts, clean, strict=True):
        rows, columns = front[0].sum(1).nonzero(), front[0].sum(0).nonzero()
        height, width = (int(where.max() - where.min()) + 1 for where in (rows, columns))
        assert abs(height - 16 * 40 / 60) <= 2
        assert abs(width - 8 * 40 / 60) <= 2
        assert picture.sum() > 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="^images: wanted pictures of"):
        Extrusion((28, 28))(torch.zeros(1, 1, 20, 20), torch.Generator())
    with pytest.raises(ValueError, match="^edge: wanted integers"):
        Extrusion((28, 28), edge=0)
