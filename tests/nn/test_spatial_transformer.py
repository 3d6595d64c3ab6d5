from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.conftest import TRANSFORMS_2D
from unwarp.maps import LinearMap
from unwarp.nn import Localization, SpatialTransformer, centroid, convolutional, fully_connected, parameter_groups
from unwarp.transforms import Affine, Attention, Bounded, Projective, ThinPlateSpline, Transform, Translation


class Fixed(nn.Module):
    """A localization network that always says the same."""

    def __init__(self, theta: list[float]) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.theta.expand(len(image), -1)


EVERY = [*TRANSFORMS_2D, Bounded(Affine(), scale=(0.5, 2)), Bounded(ThinPlateSpline(), offset=0.3)]


@pytest.mark.parametrize("transform", EVERY, ids=repr)
@pytest.mark.parametrize("network", [fully_connected, convolutional])
@pytest.mark.parametrize("in_shape", [(1, 28, 28), (3, 9, 50)])
def test_starts_as_the_identity(transform: Transform, network: type, in_shape: tuple[int, ...]) -> None:
    module = SpatialTransformer(network(in_shape, transform), transform)
    image = torch.rand(2, *in_shape)
    assert torch.equal(module(image), image)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_works_in_every_dimension_and_at_any_place(ndim: int) -> None:
    transform = Affine(ndim)
    in_shape = (4, *(16, 12, 10)[:ndim])
    module = SpatialTransformer(convolutional(in_shape, transform, perturbation=0.1), transform, (5,) * ndim)
    warped = module(torch.rand(2, *in_shape, requires_grad=True))
    assert warped.shape == (2, 4, *(5,) * ndim)
    warped.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_theta_and_map_are_there_on_request() -> None:
    module = SpatialTransformer(Fixed([0.5, 0.1, 0.2]), Attention(), (4, 4))
    image = torch.rand(3, 1, 8, 8)
    aligned = module.align(image)
    assert torch.equal(aligned.image, module(image))
    assert torch.equal(aligned.theta, torch.tensor([[0.5, 0.1, 0.2]] * 3))
    assert isinstance(aligned.pull, LinearMap)


def test_one_input_may_have_several_outputs() -> None:
    class Two(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(image), 2, 2)

    image = torch.rand(3, 1, 8, 8)
    warped = SpatialTransformer(Two(), Translation())(image)
    assert torch.equal(warped, image.unsqueeze(1).repeat(1, 2, 1, 1, 1))


@pytest.mark.parametrize("leash", [0.0, 1.0])
def test_only_a_leash_brings_back_a_crop_that_has_left_the_picture(leash: float) -> None:
    localization = Fixed([0.5, 3.0, -2.5])
    module = SpatialTransformer(localization, Attention(), (6, 6), leash=leash)
    image = torch.rand(4, 1, 12, 12) + 1
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (-module(image).mean()).backward()
        optimizer.step()
    assert bool((module(image) > 0).any()) == (leash > 0)


def test_a_leash_changes_nothing_while_the_crop_sees_the_picture() -> None:
    image = torch.rand(2, 1, 12, 12)
    gradients = []
    for leash in (0.0, 5.0):
        localization = Fixed([0.9, 0.8, 0.6])  # partly outside
        module = SpatialTransformer(localization, Attention(), leash=leash)
        module(image).square().sum().backward()
        gradients.append(localization.theta.grad)
    assert torch.equal(gradients[0], gradients[1])


def test_a_module_with_a_leash_compiles_and_vmaps() -> None:
    module = SpatialTransformer(Fixed([0.5, 3.0, -2.5]), Attention(), leash=1.0)
    image = torch.rand(2, 1, 8, 8)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    assert torch.equal(compiled(image), module(image))
    assert torch.func.vmap(module)(image.unsqueeze(0)).shape == (1, 2, 1, 8, 8)


def test_theta_stays_in_full_precision_under_autocast() -> None:
    transform = Affine()
    module = SpatialTransformer(convolutional((1, 28, 28), transform, perturbation=0.01), transform)
    with torch.autocast("cpu", torch.bfloat16):
        aligned = module.align(torch.rand(2, 1, 28, 28))
    assert aligned.theta.dtype == torch.float32
    assert aligned.pull.dtype == torch.float32


def test_a_localization_network_of_ones_own_starts_at_the_identity_too() -> None:
    trunk = nn.Sequential(nn.Flatten(), nn.LazyLinear(7), nn.Tanh())
    module = SpatialTransformer(Localization(trunk, 7, Affine()), Affine())
    image = torch.rand(2, 2, 6, 5)
    assert torch.equal(module(image), image)


def test_a_perturbation_moves_the_start_a_little() -> None:
    image = torch.rand(2, 1, 28, 28)
    theta = convolutional((1, 28, 28), Affine(), perturbation=1e-2)(image)
    assert 0 < (theta - Affine().identity).abs().max() < 0.2


def test_localization_networks_have_a_learning_rate_of_their_own() -> None:
    transform = Affine()
    transformer = SpatialTransformer(convolutional((1, 8, 8), transform), transform)
    model = nn.Sequential(transformer, nn.Flatten(), nn.Linear(64, 2))
    groups = parameter_groups(model, lr=0.1, localization_factor=0.2)
    assert [(group["name"], group["lr"]) for group in groups] == [
        ("network", 0.1),
        ("localization", pytest.approx(0.02)),
        ("start", pytest.approx(0.02)),
    ]
    of_localization = [id(p) for group in groups[1:] for p in group["params"]]
    assert sorted(of_localization) == sorted(id(p) for p in transformer.localization.parameters())
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_weight_decay_leaves_the_identity_alone() -> None:
    transform = Affine()
    network = convolutional((1, 8, 8), transform, perturbation=0.1)
    optimizer = torch.optim.AdamW(parameter_groups(network, lr=0.1), weight_decay=0.5)
    weight = network.head.weight.detach().clone()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(network.head.bias, transform.identity)
    torch.testing.assert_close(network.head.weight, 0.95 * weight)


def test_state_dict_round_trip() -> None:
    def make() -> SpatialTransformer:
        return SpatialTransformer(convolutional((1, 28, 28), ThinPlateSpline(), perturbation=0.1), ThinPlateSpline())

    first, second = make(), make()
    second.load_state_dict(first.state_dict())
    image = torch.rand(1, 1, 28, 28)
    assert torch.equal(first(image), second(image))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"mode": "bilinear"}, "mode"),
        ({"padding": "edge"}, "padding"),
        ({"padding": ("zeros",)}, "padding"),
        ({"fill": 0.5}, "fill"),
        ({"leash": -1}, "leash"),
        ({"padding": "constant", "fill": float("nan")}, "fill"),
        ({"size": (3,)}, "size"),
        ({"padding": "constant", "fill": torch.tensor([1.0, 2.0])}, "fill"),
    ],
)
def test_what_makes_no_sense_is_refused(words: dict, named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{named}: wanted"):
        SpatialTransformer(Fixed([0.0, 0.0]), Translation(), **words)


def test_a_localization_network_for_another_transform_is_refused() -> None:
    module = SpatialTransformer(Fixed([0.0, 0.0]), Affine())
    with pytest.raises(ValueError, match=r"^theta: wanted .*Affine"):
        module(torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("transform", [Translation(), Affine(), Projective(), ThinPlateSpline()], ids=repr)
def test_a_window_starts_at_the_middle_of_the_picture(transform: Transform) -> None:
    image = torch.rand(2, 3, 16, 24)
    module = SpatialTransformer(convolutional((3, 16, 24), transform), transform, (8, 12), window=0.5)
    warped = module(image)
    torch.testing.assert_close(warped, image[:, :, 4:12, 6:18], atol=1e-5, rtol=0)
    warped.square().sum().backward()
    assert all(p.grad is not None for p in module.localization.parameters())


def test_a_window_needs_a_width() -> None:
    with pytest.raises(ValueError, match="window"):
        SpatialTransformer(convolutional((1, 8, 8), Affine()), Affine(), window=0.0)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_jitter_moves_in_training_only(ndim: int) -> None:
    module = SpatialTransformer(Fixed([0.0] * ndim), Translation(ndim), (4,) * ndim, jitter=0.1, window=0.5)
    image = torch.rand(500, 1, *(8,) * ndim)
    _, moved = module.locate(image)
    still = SpatialTransformer(Fixed([0.0] * ndim), Translation(ndim), (4,) * ndim, window=0.5).locate(image)[1]
    assert isinstance(moved, LinearMap)
    assert isinstance(still, LinearMap)
    noise = (moved.matrix - still.matrix)[..., -1] / 0.5
    assert noise.mean().abs() < 0.02
    assert 0.09 < noise.std() < 0.11
    moved.matrix.sum().backward()
    assert module.localization.theta.grad is not None
    assert torch.equal(module.eval()(image), SpatialTransformer.warp(module, image, still))


@pytest.mark.parametrize("in_shape", [(1, 60, 60), (3, 18, 50), (2, 40), (1, 16, 8, 6)])
def test_a_centroid_starts_as_the_identity_and_is_trained_at_its_own_rate(in_shape: tuple[int, ...]) -> None:
    ndim = len(in_shape) - 1
    module = SpatialTransformer(centroid(in_shape), Translation(ndim))
    image = torch.rand(2, *in_shape)
    assert module.localization(image).abs().max() < 1e-6
    torch.testing.assert_close(module(image), image, atol=1e-5, rtol=0)
    module(image).square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    groups = parameter_groups(nn.Sequential(module, nn.Flatten()), lr=1.0, localization_factor=0.5)
    assert [len(group["params"]) for group in groups] == [0, len(list(module.parameters()))]


def test_a_centroid_moves_as_far_as_the_object() -> None:
    network = centroid((1, 64, 64)).eval()
    nn.init.constant_(network.head.weight, 1.0)
    image = torch.zeros(2, 1, 64, 64)
    image[0, :, 20:28, 20:28] = 1
    image[1, :, 28:36, 16:24] = 1  # 8 pixels down, 4 to the left: whole places
    theta = network(image)
    torch.testing.assert_close(network.heatmap(image).sum((1, 2)), torch.ones(2))
    share = 1 - 2 * network.heatmap(torch.zeros_like(image))[0, 0, 0]  # the border of the picture weighs a little
    assert share > 0.9
    moved = (theta[1] - theta[0]) * 32
    torch.testing.assert_close(moved, torch.tensor([-4.0, 8.0]), atol=1.0, rtol=0)


@pytest.mark.parametrize("make", [fully_connected, convolutional])
@pytest.mark.parametrize(
    ("in_shape", "transform", "named"),
    [
        ((28, 28), Affine(), "in_shape"),
        ((1, -28, 28), Affine(), "in_shape"),
        ((1, 28, 28), Affine(3), "in_shape"),
        ((1, 28, 28), Affine, "transform"),
        ((1, 28, 28), "affine", "transform"),
    ],
)
def test_localization_networks_of_other_images_are_refused(
    make: Callable[..., nn.Module], in_shape: tuple[int, ...], transform: object, named: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{named}: wanted"):
        make(in_shape, transform)


def test_the_leash_pulls_by_its_weight() -> None:
    pulls = []
    for leash in (1.0, 3.0):
        localization = Fixed([0.5, 3.0, -2.5])
        SpatialTransformer(localization, Attention(), (6, 6), leash=leash)(torch.rand(2, 1, 12, 12)).sum().backward()
        pulls.append(localization.theta.grad)
    torch.testing.assert_close(pulls[1], 3 * pulls[0])


def test_jitter_turns_shears_and_scales_as_much_as_it_shifts() -> None:
    transform = Affine()
    module = SpatialTransformer(Fixed(transform.identity.tolist()), transform, (4, 4), jitter=0.1)
    pull = module.locate(torch.rand(2000, 1, 8, 8))[1]
    assert isinstance(pull, LinearMap)
    linear = pull.matrix[..., :2].detach()
    angle = torch.atan2(linear[:, 1, 0], linear[:, 0, 0])
    first, volume = linear[:, :, 0].norm(dim=-1), torch.linalg.det(linear)
    for part in (angle, first.log(), (volume / first).log()):
        assert part.mean().abs() < 0.02
        assert 0.09 < part.std() < 0.11
    shear = (linear[:, :, 0] * linear[:, :, 1]).sum(-1) / volume
    assert 0.08 < shear.std() < 0.12


def test_learned_control_points_learn_slowly_and_keep_their_places() -> None:
    transform = ThinPlateSpline((3, 3), learned=True)
    model = nn.Sequential(SpatialTransformer(convolutional((1, 8, 8), transform), transform), nn.Conv2d(1, 1, 3))
    rest, _, start = parameter_groups(model, lr=1.0, localization_factor=0.1)
    assert len(rest["params"]) == 2
    assert any(parameter is transform.control for parameter in start["params"])
    assert (start["lr"], start["weight_decay"]) == (0.1, 0)


def test_a_centroid_is_in_full_precision_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert centroid((1, 16, 16))(torch.rand(2, 1, 16, 16)).dtype == torch.float32


def test_an_empty_batch_of_splines_goes_through_windows_and_jitter() -> None:
    transform = ThinPlateSpline()
    module = SpatialTransformer(convolutional((1, 8, 8), transform), transform, window=0.5, jitter=0.1)
    assert module(torch.zeros(0, 1, 8, 8)).shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: convolutional((1, 8, 8), Affine(), hidden=0), "hidden"),
        (lambda: convolutional((1, 8, 8), Affine(), channels=(4, 0)), "channels"),
        (lambda: convolutional((1, 8, 8), Affine(), kernel=-1), "kernel"),
        (lambda: fully_connected((1, 8, 8), Affine(), hidden=(0,)), "hidden"),
        (lambda: fully_connected((1, 8, 8), Affine(), hidden=32), "hidden"),  # pyright: ignore[reportArgumentType]
        (lambda: Localization(nn.Flatten(), 0, Affine()), "num_features"),
        (lambda: centroid((1, 8, 8), channels=()), "channels"),
        (lambda: SpatialTransformer("x", Affine()), "localization"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_networks_that_would_see_nothing_are_refused(make: Callable[[], object], named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{named}: wanted"):
        make()


@pytest.mark.parametrize("size", [(22, 30), (17, 36), (40, 40)])
def test_the_places_of_a_heatmap_cover_the_whole_picture(size: tuple[int, int]) -> None:
    places = centroid((1, *size)).heatmap(torch.rand(1, 1, *size)).shape[1:]
    assert [extent % count for extent, count in zip(size, places, strict=True)] == [0, 0]
