"""Laws that hold for every kind of map."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import TRANSFORMS_2D, random_points, random_theta
from unwarp.coordinates import identity_grid
from unwarp.maps import ChainMap, LinearMap, Map, SplineMap, compose
from unwarp.transforms import Affine, Projective, Rotation, ThinPlateSpline, Transform, Translation

MAPS = [
    *TRANSFORMS_2D,
    Affine(1),
    Affine(3),
    Rotation(3),
    Projective(3),
    ThinPlateSpline((3,)),
    ThinPlateSpline((2, 3, 2)),
]
every_transform = pytest.mark.parametrize("transform", MAPS, ids=repr)


@every_transform
def test_the_grid_is_the_map_at_the_pixel_centres(transform: Transform) -> None:
    pull = transform(random_theta(transform, 2))
    size = (4, 5, 3)[: transform.ndim]
    points = identity_grid(size, dtype=torch.float64).expand(2, *size, transform.ndim)
    torch.testing.assert_close(pull.grid(size), pull(points))


@every_transform
def test_the_jacobian_is_the_derivative(transform: Transform) -> None:
    pull = transform(random_theta(transform, 2))
    points = random_points(2, 4, transform.ndim)
    numeric = torch.func.jacrev(lambda p: pull(p))(points)
    wanted = torch.stack([torch.stack([numeric[n, q, :, n, q] for q in range(4)]) for n in range(2)])
    torch.testing.assert_close(pull.jacobian(points), wanted)


@every_transform
def test_autocast_rounds_no_coordinate(transform: Transform) -> None:
    theta, points = random_theta(transform, 2).float(), random_points(2, 4, transform.ndim).float()

    def values() -> tuple[Tensor, ...]:
        pull = transform(theta)
        chain = ChainMap(pull, transform(theta.flip(0)))
        return pull(points), pull.jacobian(points), chain(points), chain.jacobian(points)

    wanted = values()
    with torch.autocast("cpu", torch.bfloat16):
        found = values()
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@every_transform
def test_composition_applies_the_right_map_first(transform: Transform) -> None:
    shift = Translation(transform.ndim)
    a, b = transform(random_theta(transform, 2)), shift(random_theta(shift, 2))
    points = random_points(2, 4, transform.ndim)
    torch.testing.assert_close((a @ b)(points), a(b(points)))
    torch.testing.assert_close((b @ a)(points), b(a(points)))
    numeric = torch.func.jacrev(lambda p: (a @ b)(p).sum((0, 1)))(points)
    torch.testing.assert_close((a @ b).jacobian(points), numeric.permute(1, 2, 0, 3))


@pytest.mark.parametrize("transform", [t for t in MAPS if not isinstance(t, ThinPlateSpline)], ids=repr)
def test_the_inverse_undoes_the_map(transform: Transform) -> None:
    pull = transform(random_theta(transform, 2))
    points = random_points(2, 5, transform.ndim) * 0.5
    torch.testing.assert_close((pull @ pull.inverse())(points), points)
    torch.testing.assert_close(pull.inverse()(pull(points)), points)


def test_linear_maps_compose_to_one_matrix_and_others_to_a_chain() -> None:
    affine, projective, spline = Affine(), Projective(), ThinPlateSpline()
    a, p, s = (t(random_theta(t, 2)) for t in (affine, projective, spline))
    assert isinstance(a @ a, LinearMap)
    assert (a @ a).is_affine  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(a @ p, LinearMap)
    assert isinstance(a @ s, ChainMap)


def test_a_map_without_an_inverse_says_so() -> None:
    spline = ThinPlateSpline()(random_theta(ThinPlateSpline(), 1))
    for pull in (spline, spline @ Affine()(random_theta(Affine(), 1))):
        with pytest.raises(ValueError, match="^inverse: wanted"):
            pull.inverse()
    with pytest.raises(ValueError, match="^inverse: wanted"):
        LinearMap(torch.zeros(1, 2, 3)).inverse()


def test_points_behind_the_horizon_are_far_outside_and_finite() -> None:
    pull = LinearMap(torch.tensor([[[1.0, 0, 0], [0, 1, 0], [-2, 0, 1]]]).requires_grad_())
    points = torch.tensor([[[0.5, 0.3], [0.5, 0.0], [0.9, 0.3], [1.0, 1.0]]])
    image = pull(points)
    assert torch.isfinite(image).all()
    assert (image.abs() > 100).all()
    gradient = torch.autograd.grad(image.sum(), pull.matrix)[0]
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(pull.jacobian(points)).all()


def test_what_does_not_fit_cannot_be_composed() -> None:
    three, two = (Affine()(random_theta(Affine(), count)) for count in (3, 2))
    spline = ThinPlateSpline()(random_theta(ThinPlateSpline(), 2))
    for outer, inner in ((three, two), (spline, three), (two, Affine(3)(random_theta(Affine(3), 2)))):
        with pytest.raises(ValueError, match="^a @ b: wanted"):
            compose(outer, inner)
    for pair in ((None, two), (two, None), (torch.eye(3), two)):
        with pytest.raises(TypeError, match="^a @ b: wanted"):
            compose(*pair)  # pyright: ignore[reportArgumentType]


def test_maps_are_counted() -> None:
    pull = Affine()(random_theta(Affine(), 3))
    assert [one.batch for one in pull] == [(1,)] * 3
    assert pull[-1].batch == pull[np.int64(1)].batch == pull[torch.tensor(2)].batch == (1,)
    for wrong in (3, -4):
        with pytest.raises(IndexError, match="^index: wanted one of 3 maps"):
            pull[wrong]


def test_a_chain_that_shares_a_part_can_be_chosen_from() -> None:
    spline, affine = ThinPlateSpline(), Affine()
    chain = spline(random_theta(spline, 1)) @ affine(random_theta(affine, 3))
    points = random_points(3, 4, 2)
    torch.testing.assert_close(chain[2](points[2:]), chain(points)[2:])
    for rows in (slice(1, 3), torch.tensor([0, 2]), torch.tensor([True, False, True])):
        torch.testing.assert_close(chain[rows](points[rows]), chain(points)[rows])


@every_transform
def test_points_and_maps_of_different_precision(transform: Transform) -> None:
    theta, points = random_theta(transform, 2), random_points(2, 5, transform.ndim)
    wanted = transform(theta)(points)
    for pull, at in ((transform(theta.float()), points), (transform(theta), points.float())):
        torch.testing.assert_close(pull(at), wanted, atol=1e-5, rtol=1e-5)
        assert pull.jacobian(at).dtype == torch.float64 or isinstance(pull, LinearMap)
    affine = Affine(transform.ndim)
    chain = transform(theta.float()) @ affine(random_theta(affine, 2))
    assert chain.grid((3,) * transform.ndim).dtype == chain.dtype == torch.float64


@every_transform
def test_maps_can_be_chosen_and_cut_off(transform: Transform) -> None:
    theta = random_theta(transform, 5).requires_grad_()
    pull = transform(theta)
    points = random_points(5, 3, transform.ndim)
    some = torch.tensor([3, 0])
    torch.testing.assert_close(pull[some](points[some]), pull(points)[some])
    torch.testing.assert_close(pull[-1](points[-1:]), pull(points)[-1:])
    assert pull.batch == (5,)
    assert pull[1:3].batch == (2,)
    assert not pull.detach()(points).requires_grad


@every_transform
def test_many_maps_per_image(transform: Transform) -> None:
    theta = random_theta(transform, 6)
    size = (2, 3, 2)[: transform.ndim]
    grids = transform(theta.unflatten(0, (2, 3))).grid(size)
    torch.testing.assert_close(grids, transform(theta).grid(size).unflatten(0, (2, 3)))


@pytest.mark.parametrize(
    "pull", [Affine()(torch.eye(6)[:2]), ThinPlateSpline()(torch.zeros(2, 32))], ids=["linear", "spline"]
)
@pytest.mark.parametrize("points", [torch.zeros(3, 4, 2), torch.zeros(2, 4, 3), torch.zeros(2)], ids=str)
def test_points_that_do_not_fit_are_refused(pull: Map, points: Tensor) -> None:
    with pytest.raises(ValueError, match="^points: wanted"):
        pull(points)
    with pytest.raises(ValueError, match="^points: wanted"):
        pull.jacobian(points)


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="^a @ b: wanted"):
        _ = Affine(2)(torch.zeros(1, 6)) @ Affine(3)(torch.zeros(1, 12))
    with pytest.raises(TypeError, match="^a @ b: wanted"):
        _ = Affine(2)(torch.zeros(1, 6)) @ torch.eye(3)  # pyright: ignore[reportOperatorIssue]


@pytest.mark.parametrize("matrix", [torch.zeros(2, 3), torch.zeros(1, 3, 2), torch.zeros(1, 2, 3).half(), "eye"])
def test_matrices_that_do_not_fit_are_refused(matrix: Tensor) -> None:
    with pytest.raises((TypeError, ValueError), match="^matrix: wanted"):
        LinearMap(matrix)


def test_what_a_spline_keeps_of_a_grid_serves_everyone() -> None:
    spline, other = ThinPlateSpline((3, 4)), ThinPlateSpline((3, 4), regularization=0.1)
    theta, size = 0.1 * torch.randn(2, spline.num_params, dtype=torch.float64), (7, 9)

    def grid(t: Tensor, of: ThinPlateSpline = spline) -> Tensor:
        return of(t).grid(size)

    with torch.inference_mode():
        grid(theta)
    in_transform = torch.func.vmap(torch.func.grad(lambda t: grid(t.unsqueeze(0)).square().sum()))(theta)
    leaf = theta.clone().requires_grad_()
    points = identity_grid(size, dtype=torch.float64).expand(2, *size, 2)
    for of in (spline, other):
        torch.testing.assert_close(grid(leaf, of), of(leaf)(points))
    grid(leaf).square().sum().backward()
    torch.testing.assert_close(leaf.grad, in_transform)
    assert torch.equal(grid(torch.zeros(2, spline.num_params)), points.float())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_splines_on_a_gpu_are_as_exact_where_tf32_is_allowed() -> None:
    spline = ThinPlateSpline((4, 4))
    theta = 0.2 * torch.randn(2, spline.num_params)
    wanted = spline(theta).grid((40, 50))
    torch.set_float32_matmul_precision("high")
    try:
        found = [spline.cuda()(theta.cuda()).grid((40, 50)).cpu() for _ in range(2)]
        points = spline(theta.cuda())(identity_grid((40, 50), device=torch.device("cuda")).expand(2, -1, -1, -1)).cpu()
    finally:
        torch.set_float32_matmul_precision("highest")
    for grid in (*found, points):
        torch.testing.assert_close(grid, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("index", [(slice(None), slice(2)), ..., (0, ...), (0, 0), (None, 0)])
def test_only_batch_axes_are_chosen_from(index: Any) -> None:
    with pytest.raises(IndexError, match="^index: wanted one for each of the batch axes"):
        LinearMap(torch.eye(3).repeat(2, 1, 1))[index]


def test_every_batch_axis_stays() -> None:
    matrix = torch.randn(2, 3, 2, 3)
    chosen = LinearMap(matrix)[1, -1]
    assert chosen.batch == (1, 1)
    assert torch.equal(chosen.matrix, matrix[1:, 2:])


@pytest.mark.parametrize(
    ("shapes", "named"),
    [
        (((6, 2), (1, 5, 2), (1, 3, 2)), "weights"),
        (((6, 2), (6, 2), (3, 2)), "weights"),
        (((6, 2), (1, 6, 2), (1, 2, 2)), "affine"),
        (((6, 2), (2, 6, 2), (1, 3, 2)), "affine"),
        (((6, 4), (1, 6, 4), (1, 5, 4)), "control"),
    ],
)
def test_coefficients_that_make_no_spline_are_refused(shapes: tuple[tuple[int, ...], ...], named: str) -> None:
    control, weights, affine = map(torch.zeros, shapes)
    with pytest.raises(ValueError, match=f"^{named}: wanted"):
        SplineMap(control, weights, affine)


def test_chains_of_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="^a @ b: wanted"):
        ChainMap(LinearMap(torch.eye(3).unsqueeze(0)), LinearMap(torch.eye(4).unsqueeze(0)))


def test_learned_control_points_are_cut_off_with_the_rest() -> None:
    transform = ThinPlateSpline((3, 3), learned=True)
    pull = transform(torch.zeros(2, 18))
    moved = pull @ Affine()(Affine().identity.expand(2, -1))
    assert pull.grid((4, 4)).requires_grad
    assert not pull.detach().grid((4, 4)).requires_grad
    assert not moved.detach().grid((4, 4)).requires_grad


def test_jacobians_behind_the_horizon_are_those_of_the_map() -> None:
    pull = Projective()(torch.tensor([[2.0, 0.2, 1, 0.1, 2, 1.5, -3, 0.5]], dtype=torch.float64))
    points = torch.tensor([[[0.9, 0.1], [0.1, 0.3]]], dtype=torch.float64)
    assert (points @ torch.tensor([-3, 0.5], dtype=torch.float64) + 1).sign().flatten().tolist() == [-1, 1]
    numeric = torch.func.jacrev(lambda p: pull(p).sum((0, 1)))(points)
    torch.testing.assert_close(pull.jacobian(points), numeric.permute(1, 2, 0, 3))
