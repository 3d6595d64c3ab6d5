import pytest
import torch
from torch import nn

from unwarp import Rotation, SpatialTransformer, warp
from unwarp.nn import Localization, Projection, project, seen_from_front


def test_it_adds_up_or_takes_the_largest_along_depth() -> None:
    volume = torch.rand(2, 3, 4, 5, 6)
    torch.testing.assert_close(project(volume), sum(volume[:, :, depth] for depth in range(4)))
    for y, x in ((0, 0), (4, 5)):
        assert torch.equal(project(volume, "max")[..., y, x], volume[..., y, x].max(2).values)


def test_a_quarter_turn_about_the_vertical_axis_shows_the_side() -> None:
    volume = torch.rand(1, 1, 7, 7, 7, dtype=torch.float64)
    turned = warp(volume, Rotation(3)(torch.tensor([[0.0, torch.pi / 2, 0.0]], dtype=torch.float64)))
    side = volume.sum(4).transpose(2, 3)
    seen = project(turned)
    flipped = seen.flip(3)
    assert min((seen - side).abs().max(), (flipped - side).abs().max()) < 1e-9


@pytest.mark.parametrize("how", ["sum", "max"])
def test_the_gradient_reaches_the_pose(how: str) -> None:
    transform = Rotation(3)
    localization = Localization(nn.Flatten(), 6**3, transform)
    model = nn.Sequential(SpatialTransformer(localization, transform, (5, 6, 7)), Projection(how))
    picture = model(torch.rand(2, 1, 6, 6, 6))
    assert picture.shape == (2, 1, 6, 7)
    picture.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert localization.head.bias.grad is not None
    assert localization.head.bias.grad.abs().sum() > 0


def test_pictures_are_seen_as_they_are() -> None:
    picture, volume = torch.rand(1, 1, 3, 4), torch.rand(1, 1, 2, 3, 4)
    assert seen_from_front(picture) is picture
    assert torch.equal(seen_from_front(volume), project(volume, "max"))


def test_what_is_no_volume_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^volume: wanted \[N, C, D, H, W\]"):
        project(torch.rand(1, 1, 3, 4))
    with pytest.raises(ValueError, match="^how: wanted one of sum, max"):
        Projection("mean")
