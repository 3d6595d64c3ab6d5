import math

import pytest
import torch

from tests.conftest import TRANSFORMS_2D, random_theta, smooth_images
from unwarp.coordinates import identity_grid
from unwarp.maps import LinearMap
from unwarp.sampling import MODES
from unwarp.transforms import Affine, Attention, Rotation, Transform, Translation
from unwarp.warping import warp

EXACT = MODES[:3]  # the B-splines go through the pixels up to rounding


@pytest.mark.parametrize("transform", TRANSFORMS_2D, ids=repr)
@pytest.mark.parametrize("mode", EXACT)
def test_the_identity_returns_the_image_bit_for_bit(transform: Transform, mode: str) -> None:
    image = torch.rand(2, 3, 17, 29)
    assert torch.equal(warp(image, transform(transform.identity.expand(2, -1)), mode=mode), image)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mode", EXACT)
def test_quarter_turns_are_exact(turns: int, mode: str) -> None:
    image = torch.rand(1, 2, 28, 28)
    pull = Rotation()(torch.full((1, 1), turns * math.pi / 2))
    assert torch.equal(warp(image, pull, mode=mode), torch.rot90(image, turns, (2, 3)))


def test_whole_pixel_shifts_are_exact() -> None:
    image = torch.rand(1, 1, 10, 14)
    pull = Translation()(torch.tensor([[2 * 3 / 14, -2 * 4 / 10]]))
    assert torch.equal(warp(image, pull, padding="wrap"), image.roll((4, -3), (2, 3)))


@pytest.mark.parametrize("first", TRANSFORMS_2D, ids=repr)
@pytest.mark.parametrize("second", TRANSFORMS_2D, ids=repr)
def test_warping_twice_is_warping_once_by_the_composition(first: Transform, second: Transform) -> None:
    image = smooth_images(2, 1, (96, 96))
    a, b = first(random_theta(first, 2, 0.05)), second(random_theta(second, 2, 0.05))
    twice, once = warp(warp(image, a), b), warp(image, a @ b)
    # What left the first output is lost.
    inside = (b.grid((96, 96)).abs() < 1 - 1 / 48).all(-1).unsqueeze(1)
    assert ((twice - once) * inside).abs().max() < 0.01


def test_a_linear_picture_is_warped_exactly() -> None:
    slope = torch.tensor([0.7, -0.3], dtype=torch.float64)
    image = (identity_grid((40, 30), dtype=torch.float64) @ slope)[None, None]
    pull = Affine()(random_theta(Affine(), 1, 0.05) * 0.8)
    result = warp(image, pull, (20, 25))
    torch.testing.assert_close(result[0, 0], pull.grid((20, 25))[0] @ slope)


def test_gradients_of_theta_and_image() -> None:
    image = torch.rand(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    for transform in TRANSFORMS_2D:
        theta = (random_theta(transform, 1, 0.05) + 0.01).requires_grad_()

        def read(picture: torch.Tensor, t: torch.Tensor, transform: Transform = transform) -> torch.Tensor:
            return warp(picture, transform(t), (4, 3))

        assert torch.autograd.gradcheck(read, (image, theta))


def test_one_image_serves_many_maps_and_one_map_many_images() -> None:
    theta = random_theta(Affine(), 3).float()
    image = torch.rand(3, 2, 6, 7)
    assert torch.equal(warp(image[:1], Affine()(theta)), warp(image[:1].repeat(3, 1, 1, 1), Affine()(theta)))
    assert torch.equal(warp(image, Affine()(theta[:1])), warp(image, Affine()(theta[:1].repeat(3, 1))))
    many = warp(image, Affine()(theta.unsqueeze(1).repeat(1, 4, 1)), (5, 5))
    assert many.shape == (3, 4, 2, 5, 5)
    assert torch.equal(many[:, 2], warp(image, Affine()(theta), (5, 5)))


def test_many_maps_do_not_copy_the_image() -> None:
    image = torch.rand(1, 1, 400, 400)
    pull = Attention()(torch.tensor([0.1, 0.0, 0.0]).repeat(1, 50, 1))
    with torch.profiler.profile(profile_memory=True) as profile:
        warp(image, pull, (4, 4))
    largest = max(event.cpu_memory_usage for event in profile.events() or [])  # pyright: ignore[reportAttributeAccessIssue]
    assert largest < image.nbytes


@pytest.mark.parametrize(
    ("image", "pull", "size", "named"),
    [
        (torch.zeros(2, 1, 4, 4), Affine()(torch.zeros(3, 6)), None, "pull"),
        (torch.zeros(2, 1, 4, 4, 4), Affine()(torch.zeros(2, 6)), None, "pull"),
        (torch.zeros(2, 1, 4, 4), Affine()(torch.zeros(2, 6)), (4,), "size"),
        (torch.zeros(2, 1, 4, 4), Affine()(torch.zeros(2, 6)), (4, 0), "size"),
        (torch.zeros(2, 1, 4, 4), Affine()(torch.zeros(2, 6)), 4, "size"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, 2, 3), None, "pull"),
        (torch.zeros(4, 4), LinearMap(torch.zeros(1, 2, 3)), None, "image"),
    ],
)
def test_what_does_not_fit_is_refused(image: torch.Tensor, pull: object, size: object, named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{named}: wanted"):
        warp(image, pull, size)  # pyright: ignore[reportArgumentType]
