import math
from collections.abc import Callable

import pytest
import torch

from unwarp.coordinates import identity_grid, to_pixel
from unwarp.data import DISTORTIONS, Distortion
from unwarp.data.clutter import add_clutter
from unwarp.maps import ChainMap, LinearMap
from unwarp.nn import diagnose
from unwarp.warping import warp

COUNT = 2000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(size: tuple[int, int] = (28, 28)) -> torch.Tensor:
    """A picture with a dark margin, as MNIST's: a bright disc off the centre."""
    points = identity_grid(size)
    return ((points - torch.tensor([0.2, -0.1])).square().sum(-1) < 0.2).float().expand(3, 1, *size)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_the_same_seed_gives_the_same_pictures(name: str) -> None:
    distortion = Distortion(name, (28, 28))
    first, again, other = (distortion(blobs(), generator(seed)).images for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("name", ["r", "rts", "p", "e"])
def test_the_true_map_made_the_picture(name: str) -> None:
    distortion = Distortion(name, (28, 28))
    images, pull = distortion(blobs(), generator())
    assert torch.equal(images, warp(blobs(), pull, distortion.size))


@pytest.mark.parametrize("name", ["r", "rts", "p", "tc", "h"])
def test_the_inverse_of_the_true_map_straightens(name: str) -> None:
    distortion = Distortion(name, (28, 28), patches=0)
    images, pull = distortion(blobs().repeat(20, 1, 1, 1), generator(1))
    back = warp(images, pull.inverse(), (28, 28))
    # In the mean of many: in perspective, one may be squeezed to almost nothing.
    assert (back - blobs()[:1]).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("name", "size"),
    [("r", (28, 28)), ("rts", (42, 42)), ("p", (28, 28)), ("e", (28, 28)), ("tc", (60, 60)), ("h", (28, 28))],
)
def test_the_canvas_is_the_papers(name: str, size: tuple[int, int]) -> None:
    assert Distortion(name, (28, 28)).size == size
    assert Distortion(name, (28, 28))(blobs(), generator()).images.shape == (3, 1, *size)


def test_r_turns_up_to_a_quarter_each_way_and_nothing_else() -> None:
    found = diagnose(Distortion("r", (28, 28)).draw(COUNT, generator()), (4, 4))
    assert found.rotation.abs().max() <= math.pi / 2
    assert found.rotation.min() < -1.5
    assert found.rotation.max() > 1.5
    torch.testing.assert_close(found.scale, torch.ones(COUNT))


def test_rts_keeps_to_its_ranges_and_the_digit_in_sight() -> None:
    pull = Distortion("rts", (28, 28)).draw(COUNT, generator())
    found = diagnose(pull, (4, 4))
    assert found.rotation.abs().max() <= math.pi / 4 + 1e-5
    scale = (42 / 28) / found.scale  # of the digit, in pixels
    assert 0.7 - 1e-4 <= scale.min() < 0.71
    assert 1.19 < scale.max() <= 1.2 + 1e-4
    digit = identity_grid((2, 2)).reshape(1, 4, 2) * 2 * 10 / 14  # corners of the 20×20 in the middle
    corners = pull.inverse()(digit)
    # At most half the diagonal of 24 pixels, and the 4.2 that are left to move; of 21 to the edge.
    assert corners.abs().max() <= (12 * math.sqrt(2) + 4.2) / 21 + 1e-5
    assert corners.abs().max() > 0.9


def test_p_moves_the_corners_along_their_diagonals_by_a_normal_of_five_pixels() -> None:
    pull = Distortion("p", (28, 28)).draw(COUNT, generator())
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    landed = to_pixel(pull.inverse()(corners.unsqueeze(0)), (28, 28))
    spread = landed.std(0)
    # The scale adds its own: 14 px × the deviation of a uniform in 0.75..1. Crossed quadrilaterals are drawn again,
    # which takes a little off.
    wanted = math.hypot(5 / math.sqrt(2), 14 * 0.25 / math.sqrt(12))
    assert (spread - wanted).abs().max() < 0.25
    assert (landed.mean(0) - to_pixel(0.875 * corners, (28, 28))).abs().max() < 0.4
    assert torch.isfinite(pull.grid((28, 28))).all()
    # By one amount in x and y, each corner by its own.
    outward = (landed - 13.5) * corners
    torch.testing.assert_close(outward[..., 0], outward[..., 1], atol=1e-3, rtol=0)
    assert (torch.corrcoef(outward[..., 0].T) - torch.eye(4)).abs().max() < 0.2


def test_e_moves_its_control_points_by_a_normal_of_one_and_a_half() -> None:
    pull = Distortion("e", (28, 28)).draw(COUNT, generator())
    assert isinstance(pull, ChainMap)
    control = identity_grid((4, 4)) * 4 / 3  # -1..1
    moved = pull.inner(control.reshape(1, 16, 2)) - control.reshape(1, 16, 2)
    assert abs((moved * 14).std().item() - 1.5) < 0.05


def test_h_moves_the_corners_by_an_eighth_each_and_all_together() -> None:
    corners = torch.tensor([[[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]])
    moves = Distortion("h", (28, 28)).draw(COUNT, generator())(corners) - corners
    assert (moves.mean((0, 1)).abs() < 0.03).all()
    assert (moves.var((0, 1)).sqrt() / (0.25 * 2**0.5) - 1).abs().max() < 0.1
    assert (
        (moves - moves.mean(1, keepdim=True)).square().mean((0, 1)).sqrt() / (0.25 * 0.75**0.5) - 1
    ).abs().max() < 0.1


def test_h_on_a_larger_canvas_is_the_same_with_what_lies_around_it() -> None:
    small = Distortion("h", (28, 28))(blobs(), generator()).images
    large = Distortion("h", (28, 28), size=(56, 56))(blobs(), generator()).images
    torch.testing.assert_close(large[..., 14:42, 14:42], small, atol=1e-4, rtol=0)


def test_tc_places_by_whole_pixels_everywhere() -> None:
    pull = Distortion("tc", (28, 28)).draw(COUNT, generator())
    assert isinstance(pull, LinearMap)
    corner = to_pixel(pull.inverse()(torch.full((1, 1, 2), -1.0)), (60, 60))[:, 0] + 0.5
    torch.testing.assert_close(corner, corner.round(), atol=1e-3, rtol=0)
    assert corner.amin(0).round().tolist() == [0, 0]
    assert corner.amax(0).round().tolist() == [32, 32]


def test_clutter_is_cut_from_the_bank() -> None:
    bank = torch.full((2, 1, 28, 28), 0.25)
    distortion = Distortion("tc", (28, 28), bank=bank, patches=4, patch_size=5)
    images, _ = distortion(torch.zeros(8, 1, 28, 28), generator())
    share = (images == 0.25).float().mean((1, 2, 3))
    assert set(images.unique().tolist()) == {0.0, 0.25}
    assert (share <= 4 * 25 / 3600 + 1e-6).all()
    assert (share >= 25 / 3600 - 1e-6).all()
    whole = Distortion("tc", (28, 28), patches=0)(blobs(), generator())
    assert torch.equal(whole.images, warp(blobs(), whole.pull, (60, 60)))


def test_lengths_grow_with_the_picture() -> None:
    small, large = (diagnose(Distortion("e", (n, n)).draw(500, generator()), (9, 9)) for n in (28, 56))
    torch.testing.assert_close(small.scale, large.scale)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"name": "x"}, "distortion"),
        ({"name": "tc", "size": (20, 20)}, "size"),
        ({"name": "r", "in_size": (28,)}, "in_size"),
        ({"name": "tc", "patch_size": 40}, "patch_size"),
    ],
)
def test_what_makes_no_sense_is_refused(words: dict, named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}: wanted"):
        Distortion(**({"in_size": (28, 28)} | words))(blobs(), generator())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "change", [lambda bank: (255 * bank).byte(), lambda bank: bank.repeat(1, 3, 1, 1), lambda bank: bank[:0]]
)
def test_clutter_of_another_kind_than_the_pictures_is_refused(change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    images = torch.rand(2, 1, 12, 12)
    with pytest.raises(ValueError, match="^bank: wanted"):
        add_clutter(images, change(images), patches=2, patch_size=3, generator=torch.Generator())
