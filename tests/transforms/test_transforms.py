import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import LINEAR, TRANSFORMS_2D, random_points, random_theta
from unwarp.maps import LinearMap, SplineMap
from unwarp.nn import diagnose
from unwarp.transforms import (
    Affine,
    Attention,
    Bounded,
    Projective,
    Rotation,
    Similarity,
    ThinPlateSpline,
    Transform,
    Translation,
)
from unwarp.transforms.linear import rotation_matrix

NUM_PARAMS = {
    1: {"Translation": 1, "Attention": 2, "Affine": 2, "Projective": 3},
    2: {"Translation": 2, "Attention": 3, "Rotation": 1, "Similarity": 4, "Affine": 6, "Projective": 8},
    3: {"Translation": 3, "Attention": 4, "Rotation": 3, "Similarity": 7, "Affine": 12, "Projective": 15},
}
ALL = [family(ndim) for family in LINEAR for ndim in (1, 2, 3) if family.__name__ in NUM_PARAMS[ndim]]  # pyright: ignore[reportAttributeAccessIssue]
BOUNDS = {"scale": (0.5, 3.0), "angle": 0.7, "shear": 0.3, "translation": 0.4, "perspective": 0.2, "offset": 0.1}


@pytest.mark.parametrize(
    "transform", [*ALL, *TRANSFORMS_2D, ThinPlateSpline((3,)), ThinPlateSpline((2, 3, 4))], ids=repr
)
def test_identity_is_identity_bit_for_bit(transform: Transform) -> None:
    theta = transform.identity.expand(2, -1)
    points = random_points(2, 7, transform.ndim).float()
    assert torch.equal(transform(theta)(points), points)


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_number_of_parameters(transform: Transform) -> None:
    assert transform.num_params == NUM_PARAMS[transform.ndim][type(transform).__name__]
    assert transform.identity.shape == (transform.num_params,)


def test_layout_of_theta() -> None:
    points = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    cases = {
        Translation(): ([0.1, 0.2], [[1.1, 0.2], [0.1, 1.2]]),
        Attention(): ([0.5, 0.1, 0.2], [[0.6, 0.2], [0.1, 0.7]]),
        Rotation(): ([math.pi / 2], [[0.0, 1.0], [-1.0, 0.0]]),
        Similarity(): ([2.0, math.pi / 2, 0.1, 0.2], [[0.1, 2.2], [-1.9, 0.2]]),
        Affine(): ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [[4.0, 10.0], [5.0, 11.0]]),
        Projective(): ([1.0, 0, 0, 0, 1, 0, 1, 0], [[0.5, 0.0], [0.0, 1.0]]),
    }
    for transform, (theta, image) in cases.items():
        torch.testing.assert_close(transform(torch.tensor([theta]))(points)[0], torch.tensor(image))


def test_a_rotation_vector_turns_about_itself() -> None:
    vector = torch.tensor([[0.3, -1.2, 0.5]], dtype=torch.float64)
    pull = Rotation(3)(vector)
    assert isinstance(pull, LinearMap)
    linear = pull.matrix[0, :, :3]
    torch.testing.assert_close(linear @ linear.T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(linear @ vector[0], vector[0])
    torch.testing.assert_close(diagnose(pull, (2, 2, 2)).rotation[0], vector.norm())


@pytest.mark.parametrize("angle", [0.0, 1e-5, 0.0999, 0.1001, 0.1999, 0.2001, 1.0, math.pi, 7.0])
def test_a_rotation_is_the_exponential_of_its_vector(angle: float) -> None:
    vector = angle * torch.nn.functional.normalize(torch.randn(1, 3, dtype=torch.float64))
    x, y, z = vector[0]
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    torch.testing.assert_close(rotation_matrix(vector, 3)[0], torch.linalg.matrix_exp(cross), atol=1e-14, rtol=0)
    vector.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: rotation_matrix(v, 3), (vector,))
    assert torch.autograd.gradgradcheck(lambda v: rotation_matrix(v, 3), (vector,))


@pytest.mark.parametrize("control", [(4, 4), (2, 5), (3,), (2, 2, 3)])
def test_a_spline_takes_every_control_point_to_its_place(control: tuple[int, ...]) -> None:
    spline = ThinPlateSpline(control)
    theta = random_theta(spline, 3)
    points = spline.control.expand(3, -1, -1)
    offsets = theta.unflatten(-1, (-1, spline.ndim))
    torch.testing.assert_close(spline(theta)(points), points + offsets)


def test_a_spline_moved_affinely_is_affine_and_does_not_bend() -> None:
    spline, affine = ThinPlateSpline((4, 4)), Affine()
    pull = affine(random_theta(affine, 2))
    points = spline.control.expand(2, -1, -1)
    bent = spline((pull(points) - points).flatten(1))
    elsewhere = random_points(2, 9, 2)
    torch.testing.assert_close(bent(elsewhere), pull(elsewhere))
    assert isinstance(bent, SplineMap)
    assert bent.bending_energy().abs().max() < 1e-10


@pytest.mark.parametrize("control", [(4, 4), (5,), (3, 2, 3)])
def test_bending_energy_is_positive_and_quadratic(control: tuple[int, ...]) -> None:
    spline = ThinPlateSpline(control)
    theta = random_theta(spline, 20)
    energy, larger = (spline(t).bending_energy() for t in (theta, 3 * theta))  # pyright: ignore[reportAttributeAccessIssue]
    assert (energy > 0).all()
    torch.testing.assert_close(larger, 9 * energy)


def test_regularization_bends_less_and_in_the_limit_not_at_all() -> None:
    theta = random_theta(ThinPlateSpline(), 5)
    energies = torch.stack(
        [ThinPlateSpline(regularization=weight)(theta).bending_energy() for weight in (0.0, 0.1, 1.0, 1e6)]  # pyright: ignore[reportAttributeAccessIssue]
    )
    assert (energies.diff(dim=0) < 0).all()
    assert (energies[-1] < 1e-6).all()


def test_learned_control_points_have_a_gradient_and_the_same_map() -> None:
    fixed, learned = ThinPlateSpline((3, 3)), ThinPlateSpline((3, 3), learned=True)
    theta, points = random_theta(fixed, 2).float(), random_points(2, 5, 2).float()
    torch.testing.assert_close(learned(theta)(points), fixed(theta)(points))
    assert [name for name, _ in learned.named_parameters()] == ["control"]
    assert not list(fixed.parameters())
    learned(theta)(points).square().sum().backward()
    assert learned.control.grad is not None
    assert learned.control.grad.abs().sum() > 0


@pytest.mark.parametrize("learned", [False, True])
def test_a_spline_in_a_model_cast_to_half_keeps_its_precision(learned: bool) -> None:
    spline = ThinPlateSpline((3, 5))
    theta = random_theta(spline, 2).float()
    points = random_points(2, 20, 2).float()
    wanted = spline(theta)(points)
    if not learned:
        torch.testing.assert_close(torch.nn.Sequential(spline).half()[0](theta)(points), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(ThinPlateSpline((3, 5), learned=learned)(theta)(points), wanted)


@pytest.mark.parametrize("transform", TRANSFORMS_2D, ids=repr)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_theta_in_half_precision_gives_maps_in_full(transform: Transform, dtype: torch.dtype) -> None:
    theta = random_theta(transform, 2).to(dtype)
    pull = transform(theta)
    assert pull.dtype == torch.float32
    torch.testing.assert_close(pull.grid((3, 3)), transform(theta.double()).grid((3, 3)).float())


@pytest.mark.parametrize("transform", [*ALL, ThinPlateSpline()], ids=repr)
@given(strength=st.sampled_from([0.0, 0.3, 3.0, 50.0]), seed=st.integers(0, 9))
def test_bounded_components_stay_within_their_range(transform: Transform, strength: float, seed: int) -> None:
    torch.manual_seed(seed)
    bounded = Bounded(transform, **{k: v for k, v in BOUNDS.items() if k in transform.kinds})  # pyright: ignore[reportArgumentType]
    components = bounded.components(strength * torch.randn(20, bounded.num_params))
    for kind, column in zip(bounded.kinds, components.unbind(-1), strict=True):
        bound = BOUNDS[kind]
        low, high = bound if isinstance(bound, tuple) else (-bound, bound)
        assert column.min() >= low - 1e-5
        assert column.max() <= high + 1e-5


@pytest.mark.parametrize("transform", [*ALL, ThinPlateSpline()], ids=repr)
def test_bounded_starts_at_the_identity_with_slope_one(transform: Transform) -> None:
    bounded = Bounded(transform, **{k: v for k, v in BOUNDS.items() if k in transform.kinds})  # pyright: ignore[reportArgumentType]
    zero = torch.zeros(1, bounded.num_params, dtype=torch.float64)
    torch.testing.assert_close(
        bounded(zero).grid((3,) * transform.ndim),
        transform(transform.identity.double()[None]).grid((3,) * transform.ndim),
    )
    slope = torch.func.jacrev(lambda t: bounded.components(t))(zero)[0, :, 0]
    torch.testing.assert_close(slope, torch.eye(bounded.num_params, dtype=torch.float64))
    assert torch.autograd.gradgradcheck(bounded.components, (zero.clone().requires_grad_(),))


def test_bounded_affine_has_the_scale_and_rotation_it_is_told() -> None:
    components = torch.tensor([[1.5, 1.5, 0.4, 0.0, 0.1, -0.2]])
    found = diagnose(Affine()(Affine().from_components(components)), (4, 4))
    torch.testing.assert_close(found.scale, torch.tensor([1.5]))
    torch.testing.assert_close(found.rotation, torch.tensor([0.4]))


@pytest.mark.parametrize(
    ("theta", "error"),
    [
        (torch.zeros(2, 5), ValueError),
        (torch.zeros(6), ValueError),
        (torch.zeros(2, 6).long(), TypeError),
        (0, TypeError),
    ],
)
def test_theta_that_does_not_fit_is_refused(theta: torch.Tensor, error: type) -> None:
    with pytest.raises(error, match="^theta: wanted"):
        Affine()(theta)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Affine(4), "ndim"),
        (lambda: Affine(2.0), "ndim"),  # pyright: ignore[reportArgumentType]
        (lambda: Translation(True), "ndim"),
        (lambda: Attention("2"), "ndim"),  # pyright: ignore[reportArgumentType]
        (lambda: Rotation(1), "ndim"),
        (lambda: Similarity(1), "ndim"),
        (lambda: ThinPlateSpline((1, 4)), "control"),
        (lambda: ThinPlateSpline(4), "control"),  # pyright: ignore[reportArgumentType]
        (lambda: ThinPlateSpline([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), "control"),  # pyright: ignore[reportArgumentType]
        (lambda: ThinPlateSpline(torch.zeros(5, 2)), "control"),
        (lambda: ThinPlateSpline(torch.stack([torch.arange(4.0), torch.arange(4.0)], 1)), "control"),
        (lambda: ThinPlateSpline(torch.stack([torch.linspace(-1, 1, 6), torch.linspace(-0.2, 0.4, 6)], 1)), "control"),
        (lambda: ThinPlateSpline(torch.tensor([[0.1, 0.2], [0.3, 0.1], [0.1, 0.2], [0.5, 0.9]])), "control"),
        (lambda: ThinPlateSpline(regularization=-1), "regularization"),
        (lambda: Bounded(Translation(), scale=(0.5, 2)), "scale"),
        (lambda: Bounded(Affine(), scale=(1.5, 2)), "scale"),
        (lambda: Bounded(Affine(), angle=-1), "angle"),
        (lambda: Bounded(Affine(), angle="1"), "angle"),  # pyright: ignore[reportArgumentType]
        (lambda: Bounded(Affine(), scale=("a", "b")), "scale"),  # pyright: ignore[reportArgumentType]
        (lambda: ThinPlateSpline(()), "control"),
        (lambda: ThinPlateSpline(torch.full((5, 2), torch.nan)), "control"),
    ],
)
def test_transforms_that_make_no_sense_are_refused(make: object, named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{named}: wanted"):
        make()  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("transform", [*TRANSFORMS_2D, Affine(3)], ids=repr)
def test_components_within_their_bounds_have_a_theta(transform: Transform) -> None:
    bounds = {kind: bound for kind, bound in BOUNDS.items() if kind in transform.kinds}
    bounded = Bounded(transform, **bounds)  # pyright: ignore[reportArgumentType]
    components = bounded.components(random_theta(bounded, 5))
    torch.testing.assert_close(bounded.components(bounded.from_components(components)), components)
    components[0, -1] = -1e3
    with pytest.raises(ValueError, match="^components: wanted some within the bounds"):
        bounded.from_components(components)


def test_a_scale_without_bounds_stays_a_number() -> None:
    bounded = Bounded(Affine(), angle=1.0)
    theta = torch.tensor([[100.0, -100.0, 0.3, 0.1, 0.2, 0.1]], requires_grad=True)
    matrix = bounded(theta).homogeneous  # pyright: ignore[reportAttributeAccessIssue]
    matrix.square().sum().backward()
    assert matrix.isfinite().all()
    assert theta.grad is not None
    assert theta.grad.isfinite().all()


def test_control_points_are_known_on_the_meta_device() -> None:
    with torch.device("meta"):
        spline = ThinPlateSpline((3, 3))
    theta = random_theta(spline, 2).float()
    points = torch.rand(2, 5, 2)
    torch.testing.assert_close(spline(theta)(points), ThinPlateSpline((3, 3))(theta)(points))


@pytest.mark.parametrize("transform", [Affine(1), Affine(2), Affine(3), Projective(2)], ids=repr)
def test_components_go_through_vmap(transform: Transform) -> None:
    bounded = Bounded(transform, scale=(0.5, 2))
    theta = 0.3 * torch.randn(4, transform.num_params)
    size = (3,) * transform.ndim
    each = torch.vmap(lambda one: bounded(one.unsqueeze(0)).grid(size).squeeze(0))(theta)
    torch.testing.assert_close(each, bounded(theta).grid(size))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_regularised_spline_bends_less(ndim: int) -> None:
    theta = 0.2 * torch.randn(5, ndim * 4**ndim, dtype=torch.float64)
    energies = [ThinPlateSpline((4,) * ndim, regularization=r)(theta).bending_energy() for r in (0.0, 0.1, 1.0)]
    assert (energies[0] > energies[1]).all()
    assert (energies[1] > energies[2]).all()


def test_a_point_twice_needs_regularization() -> None:
    for seed in range(20):
        points = torch.rand(9, 2, generator=torch.Generator().manual_seed(seed))
        points[5] = points[2]
        with pytest.raises(ValueError, match="^control: wanted no point twice"):
            ThinPlateSpline(points)
        assert ThinPlateSpline(points, regularization=0.1)(torch.ones(1, 18)).grid((4, 4)).abs().max() < 10


def test_the_identity_is_in_single_precision_whatever_the_default() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert {t.identity.dtype for t in (Affine(), ThinPlateSpline(), Bounded(Affine()))} == {torch.float32}
    finally:
        torch.set_default_dtype(torch.float32)
