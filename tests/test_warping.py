import math

import numpy as np
import pytest
import torch

from tests.conftest import TRANSFORMS_2D, random_theta, smooth_images
from unwarp.coordinates import identity_grid
from unwarp.maps import LinearMap
from unwarp.sampling import MODES, PADDINGS
from unwarp.transforms import Affine, Attention, Rotation, Transform, Translation
from unwarp.warping import inside_mask, warp, warp_adjoint

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


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("maps", [(), (3,)])
@pytest.mark.parametrize("antialias", [False, True])
def test_the_adjoint_is_the_transpose(mode: str, padding: str, maps: tuple[int, ...], antialias: bool) -> None:
    image = torch.randn(2, 3, 7, 9, dtype=torch.float64)
    for transform in TRANSFORMS_2D[-4:]:
        theta = random_theta(transform, 2 * math.prod(maps), 0.1).unflatten(0, (2, *maps))
        pull = transform(theta)
        values = torch.randn(2, *maps, 3, 5, 6, dtype=torch.float64)
        how = {"mode": mode, "padding": padding, "antialias": antialias}
        there, back = warp(image, pull, (5, 6), **how), warp_adjoint(values, pull, (7, 9), **how)
        assert back.shape == image.shape
        torch.testing.assert_close((there * values).sum(), (image * back).sum())


def test_the_adjoint_has_derivatives() -> None:
    values = torch.randn(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    transform = Affine()
    theta = (random_theta(transform, 1, 0.05) + 0.01).requires_grad_()

    def give(v: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return warp_adjoint(v, transform(t), (4, 5))

    assert torch.autograd.gradcheck(give, (values, theta))
    assert torch.autograd.gradgradcheck(give, (values, theta))
    wanted = torch.func.jvp(lambda v: give(v, theta.detach()), (values.detach(),), (values.detach(),))[1]
    torch.testing.assert_close(wanted, give(values, theta))


def test_one_map_takes_the_values_of_many_images_back() -> None:
    values, pull = torch.randn(3, 2, 6, 5), Affine()(random_theta(Affine(), 1).float())
    each = [warp_adjoint(one.unsqueeze(0), pull, (7, 8)) for one in values]
    torch.testing.assert_close(warp_adjoint(values, pull, (7, 8)), torch.cat(each))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("mode", ["linear", "spline3"])
def test_what_is_given_back_has_the_type_of_what_is_given(dtype: torch.dtype, mode: str) -> None:
    values, pull = torch.rand(1, 1, 8, 9).to(dtype), Affine()(random_theta(Affine(), 1).float())
    found = warp_adjoint(values, pull, (8, 9), mode=mode)
    assert found.dtype == dtype
    wanted = warp_adjoint(values.double(), pull, (8, 9), mode=mode)
    torch.testing.assert_close(found.double(), wanted, atol=4 * torch.finfo(dtype).eps, rtol=4 * torch.finfo(dtype).eps)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_the_adjoint_cannot_be_traced() -> None:
    pull = Affine()(Affine().identity.expand(2, -1))
    with pytest.raises(NotImplementedError, match="^warp_adjoint: .*torch.export"):
        torch.jit.trace(lambda values: warp_adjoint(values, pull, (4, 4)), torch.rand(2, 1, 4, 4))


IDENTITIES = Affine()(Affine().identity.expand(2, -1))


@pytest.mark.parametrize(
    ("values", "in_size", "named"),
    [
        (torch.rand(2, 1, 4), (4, 4), "values"),
        (torch.rand(3, 1, 4, 4), (4, 4), "pull"),
        (torch.ones(2, 1, 4, 4, dtype=torch.uint8), (4, 4), "values"),
        ([[1.0]], (4, 4), "values"),
        (torch.rand(2, 1, 4, 4), (4,), "in_size"),
        (torch.rand(2, 1, 4, 4), (4, 0), "in_size"),
    ],
)
def test_what_cannot_be_given_back_is_refused(values: object, in_size: tuple[int, ...], named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{named}: wanted"):
        warp_adjoint(values, IDENTITIES, in_size)  # pyright: ignore[reportArgumentType]


def test_a_mask_names_its_sizes() -> None:
    with pytest.raises(ValueError, match="^in_size: wanted 2 extents"):
        inside_mask(IDENTITIES, (4,))


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
        (torch.zeros(2, 1, 4, 4), Affine()(torch.zeros(2, 6)), (4, np.float32(2.5)), "size"),
        (torch.zeros(2, 1, 4, 4), Affine()(torch.zeros(2, 6)), (4, 2 + 1j), "size"),
        (torch.zeros(2, 1, 4, 4), Affine()(torch.zeros(2, 6)), (4, torch.tensor([1, 2])), "size"),
        (torch.zeros(2, 1, 4, 4), Affine()(torch.zeros(2, 6)), (4, 10**20), "size"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, 2, 3), None, "pull"),
        (torch.zeros(4, 4), LinearMap(torch.zeros(1, 2, 3)), None, "image"),
        (torch.zeros(2, 1, 4, 4).to_sparse(), Affine()(torch.zeros(2, 6)), None, "image"),
    ],
)
def test_what_does_not_fit_is_refused(image: torch.Tensor, pull: object, size: object, named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{named}: wanted"):
        warp(image, pull, size)  # pyright: ignore[reportArgumentType]
