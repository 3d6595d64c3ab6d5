from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.conftest import TRANSFORMS_2D, random_theta
from unwarp import losses
from unwarp.maps import LinearMap, Map
from unwarp.nn import SpatialTransformer, diagnose, fully_connected
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
from unwarp.warping import warp

SIZE = (6, 7)


def pose(count: int = 4) -> Map:
    """How each picture was distorted: `x = warp(canonical, pose)`."""
    return Affine()(random_theta(Affine(), count, 0.3))


def oracle(distorted_by: Map, frame: Map) -> Map:
    """The map of a network that knows the pose, with a canonical frame of its own choice."""
    return distorted_by.inverse() @ frame


@pytest.mark.parametrize("frame_of", TRANSFORMS_2D, ids=repr)
@pytest.mark.parametrize("known_of", [Affine(), Rotation(), Projective()], ids=repr)
def test_an_oracle_is_consistent_whatever_its_canonical_frame(frame_of: Transform, known_of: Transform) -> None:
    distorted_by = pose()
    frame = frame_of(random_theta(frame_of, 1, 0.05)).each(lambda t: t.expand(4, *t.shape[1:]))
    known = known_of(random_theta(known_of, 4, 0.2))
    a, a_of_warped = oracle(distorted_by, frame), oracle(distorted_by @ known, frame)
    loss = losses.transformation_consistency(a, a_of_warped, known, SIZE)
    assert loss < 1e-18


def test_the_wrong_order_of_composition_is_not_consistent() -> None:
    distorted_by, known = pose(), Affine()(random_theta(Affine(), 4, 0.2))
    identity = Affine()(Affine().identity.double().expand(4, -1))
    a = oracle(distorted_by, identity)
    wrong = a @ known.inverse()
    assert losses.transformation_consistency(a, wrong, known, SIZE) > 1e-2


def test_consistency_is_what_leaves_the_canonical_picture_unchanged() -> None:
    image = torch.rand(4, 1, 30, 30, dtype=torch.float64)
    shift = Translation()(torch.tensor([[2 * 3 / 30, -2 * 2 / 30]] * 4, dtype=torch.float64))
    a = Translation()(torch.tensor([[2 * 1 / 30, 2 * 4 / 30]] * 4, dtype=torch.float64))
    moved = shift.inverse() @ a
    assert losses.transformation_consistency(a, moved, shift, SIZE) < 1e-20
    before, after = warp(image, a), warp(warp(image, shift), moved)
    torch.testing.assert_close(before[..., 8:-8, 8:-8], after[..., 8:-8, 8:-8])


def test_zooming_in_does_not_make_consistency_small() -> None:
    known = Similarity()(torch.tensor([[1.1, 0.3, 0.2, 0.1]]))
    values = []
    for zoom in (1.0, 0.1, 0.001):
        blind = Attention()(torch.tensor([[zoom, 0.0, 0.0]]))  # says the same whatever it sees
        values.append(losses.transformation_consistency(blind, blind, known, SIZE).item())
    assert values[0] > 1e-2
    assert values[1] > values[0]
    assert values[2] > values[1]


@pytest.mark.parametrize("transform", TRANSFORMS_2D, ids=repr)
def test_consistency_has_a_finite_gradient(transform: Transform) -> None:
    theta = random_theta(transform, 2, 0.05).requires_grad_()
    known = Rotation()(torch.tensor([[0.4], [-0.2]], dtype=torch.float64))
    losses.transformation_consistency(transform(theta), transform(theta + 0.01), known, SIZE).backward()
    assert theta.grad is not None
    assert torch.isfinite(theta.grad).all()


def test_inverse_consistency_is_zero_exactly_for_inverses() -> None:
    a, b = pose(), pose()
    assert losses.inverse_consistency(a, a.inverse(), SIZE) < 1e-20
    assert losses.inverse_consistency(a, b, SIZE) > 1e-3
    torch.testing.assert_close(losses.inverse_consistency(a, b, SIZE), losses.inverse_consistency(b, a, SIZE))


@pytest.mark.parametrize("transform", TRANSFORMS_2D, ids=repr)
def test_the_identity_costs_nothing(transform: Transform) -> None:
    pull = transform(transform.identity.double().expand(2, -1))
    assert losses.identity_prior(pull, SIZE) == 0
    assert losses.outside(pull, SIZE) == 0
    assert losses.shrinkage(pull, SIZE) == 0


def test_the_penalties_measure_what_they_say() -> None:
    shift = Translation()(torch.tensor([[0.3, -0.4]]))
    torch.testing.assert_close(losses.identity_prior(shift, SIZE), torch.tensor(0.25))
    far = Translation()(torch.tensor([[5.0, 0.0]]))
    points = far.grid(SIZE)[..., 0] - 1
    torch.testing.assert_close(losses.outside(far, SIZE), points.square().mean())
    zoomed = Attention()(torch.tensor([[0.25, 0.0, 0.0]]))
    torch.testing.assert_close(losses.shrinkage(zoomed, SIZE, 0.5), torch.tensor(2.0).log().square())
    assert losses.shrinkage(zoomed, SIZE, 0.2) == 0


def test_penalties_pull_the_right_way() -> None:
    theta = torch.tensor([[0.1, 2.0, 0.0]], requires_grad=True)
    pull = Attention()(theta)
    gradient = torch.autograd.grad(losses.outside(pull, SIZE) + losses.shrinkage(pull, SIZE), theta)[0][0]
    assert gradient[0] < 0  # a step against it zooms out
    assert gradient[1] > 0  # and back to the left


def test_a_point_has_a_finite_shrinkage() -> None:
    theta = torch.tensor([[0.0, 0.0, 0.0]], requires_grad=True)
    loss = losses.shrinkage(Attention()(theta), SIZE)
    assert torch.isfinite(loss)
    assert torch.isfinite(torch.autograd.grad(loss, theta)[0]).all()


def test_bending_energy_is_for_splines() -> None:
    assert losses.bending_energy(ThinPlateSpline()(torch.zeros(2, 32))) == 0
    with pytest.raises(TypeError, match="^pull: wanted a SplineMap"):
        losses.bending_energy(LinearMap(torch.zeros(1, 2, 3)))


def test_a_size_of_another_dimension_is_refused() -> None:
    pull = ThinPlateSpline()(random_theta(ThinPlateSpline(), 2))
    for loss in (
        lambda size: losses.shrinkage(pull, size),
        lambda size: losses.identity_prior(pull, size),
        lambda size: losses.inverse_consistency(pull, pull, size),
        lambda size: losses.transformation_consistency(pull, pull, pull, size),
        lambda size: diagnose(pull, size),
    ):
        for wrong in ((8,), (8, 8, 8)):
            with pytest.raises(ValueError, match="^size: wanted 2 extents"):
                loss(wrong)
        with pytest.raises(TypeError, match="^size: wanted a tuple"):
            loss(8)


@pytest.mark.parametrize("loss", [losses.identity_prior, losses.outside, losses.shrinkage])
def test_what_is_no_map_is_named(loss: Callable[..., Tensor]) -> None:
    aligned = SpatialTransformer(fully_connected((1, 6, 7), Affine()), Affine()).align(torch.rand(2, 1, 6, 7))
    with pytest.raises(TypeError, match=r"^pull: wanted an unwarp.Map, got Aligned; its .pull is one"):
        loss(aligned, SIZE)
    with pytest.raises(TypeError, match="^pull: wanted an unwarp.Map, got Tensor"):
        loss(aligned.theta, SIZE)


def test_consistency_with_a_map_that_cannot_be_inverted_says_so() -> None:
    spline = ThinPlateSpline()(random_theta(ThinPlateSpline(), 1, 0.1))
    flat = spline @ LinearMap(torch.zeros(1, 2, 3, dtype=torch.float64))
    known = Affine()(Affine().identity.double().unsqueeze(0))
    with pytest.raises(ValueError, match="^pull: wanted a map that can be inverted"):
        losses.transformation_consistency(flat, known, known, SIZE)


def test_consistency_takes_maps_of_either_precision_and_names_what_does_not_fit() -> None:
    theta = random_theta(ThinPlateSpline(), 2, 0.1)
    spline, known = ThinPlateSpline()(theta.float()), Affine()(Affine().identity.double().expand(2, -1))
    assert losses.transformation_consistency(spline, spline, known, SIZE) < 1e-6
    three = ThinPlateSpline()(random_theta(ThinPlateSpline(), 3, 0.1))
    with pytest.raises(ValueError, match="^pull_of_warped: wanted maps that fit"):
        losses.transformation_consistency(spline, three, Affine()(Affine().identity.unsqueeze(0)), SIZE)
    with pytest.raises(TypeError, match="^known: wanted an unwarp.Map"):
        losses.transformation_consistency(spline, spline, theta, SIZE)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="^backward: wanted an unwarp.Map"):
        losses.inverse_consistency(spline, theta, SIZE)  # pyright: ignore[reportArgumentType]


def test_learned_control_points_at_pixel_centres_have_tame_gradients() -> None:
    transform = ThinPlateSpline((3, 3, 3), learned=True)
    pull = transform(0.1 * torch.randn(1, transform.num_params))
    losses.shrinkage(pull, (3, 3, 3), 1.5).backward()
    # At 3 pixels a centre is a control point, at 4 none is.
    assert transform.control.grad is not None
    assert transform.control.grad.abs().max() < 100
