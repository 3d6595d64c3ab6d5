import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Gamma, StudentT, kl_divergence

from tests.conftest import TRANSFORMS_2D
from unwarp import Affine, SpatialTransformer, Translation
from unwarp.nn import (
    Localization,
    ProbabilisticLocalization,
    ThetaDistribution,
    average_predictions,
    convolutional,
    parameter_groups,
    recurrent,
    tiles,
)
from unwarp.transforms import Transform


def distribution(count: int = 3, freedom: int = 2) -> ThetaDistribution:
    mean, spread = torch.randn(count, 4, dtype=torch.float64), torch.rand(count, 4, dtype=torch.float64) + 0.1
    return ThetaDistribution(mean, spread, freedom)


def localization(transform: Transform) -> ProbabilisticLocalization:
    return ProbabilisticLocalization(convolutional((1, 16, 16), transform))


@pytest.mark.parametrize("freedom", [1, 2, 7])
def test_draws_are_of_student_t(freedom: int) -> None:
    one = ThetaDistribution(torch.tensor([[0.3]]), torch.tensor([[0.2]]), freedom)
    drawn = one.draw(40_000)[0, :, 0].double()
    reference = StudentT(float(freedom), 0.3, 0.2).sample(torch.Size([40_000])).double()
    shares = torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98], dtype=torch.float64)
    a, b = ((sample.quantile(shares) - 0.3) / 0.2 for sample in (drawn, reference))
    torch.testing.assert_close(a.atan(), b.atan(), atol=0.03, rtol=0)  # far out, quantiles are noisy


@pytest.mark.parametrize("freedom", [1, 2, 7])
def test_divergence_is_that_of_the_precisions(freedom: int) -> None:
    some, prior = distribution(freedom=freedom), 0.7
    alpha = torch.tensor(freedom / 2, dtype=torch.float64)
    wanted = kl_divergence(Gamma(alpha, alpha * some.spread.square()), Gamma(alpha, alpha * prior**2)).sum(-1)
    torch.testing.assert_close(some.divergence(prior), wanted)
    assert some._replace(spread=torch.full_like(some.spread, prior)).divergence(prior).abs().max() < 1e-12


def test_draws_are_differentiable_in_mean_and_spread() -> None:
    some = distribution()

    def draw(mean: Tensor, spread: Tensor) -> Tensor:
        return ThetaDistribution(mean, spread, 2).draw(5, torch.Generator().manual_seed(1))

    inputs = (some.mean.requires_grad_(), some.spread.requires_grad_())
    assert torch.autograd.gradcheck(draw, inputs)


def test_the_seed_decides_what_is_drawn() -> None:
    some = distribution()
    first, again, other = (some.draw(4, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_draws_that_are_alike_do_not_depend_on_the_other_images() -> None:
    some = distribution(5)
    together = some.draw(4, torch.Generator().manual_seed(3), alike=True)
    alone = ThetaDistribution(some.mean[2:3], some.spread[2:3], 2).draw(4, torch.Generator().manual_seed(3), alike=True)
    assert torch.equal(together[2:3], alone)


@pytest.mark.parametrize("transform", TRANSFORMS_2D, ids=repr)
def test_it_starts_at_the_identity_and_draws_about_it(transform: Transform) -> None:
    network = localization(transform)
    image = torch.rand(3, 1, 16, 16)
    found = network.predict(image)
    torch.testing.assert_close(found.mean, transform.identity.expand(3, -1))
    torch.testing.assert_close(found.spread, torch.full_like(found.mean, 0.1))
    assert not torch.equal(network(image), found.mean)
    torch.testing.assert_close(network.eval()(image), found.mean)


@pytest.mark.parametrize("transform", TRANSFORMS_2D, ids=repr)
def test_a_spatial_transformer_reads_an_image_through_all_draws(transform: Transform) -> None:
    network = localization(transform)
    transformer = SpatialTransformer(network, transform, (5, 6), padding="border", leash=1.0, window=0.5)
    image = torch.rand(2, 1, 16, 16)
    theta = network.predict(image).draw(4)
    _, pull = transformer.place(theta)
    assert tuple(pull.batch) == (2, 4)
    crops = transformer.warp(image, pull)
    assert crops.shape == (2, 4, 1, 5, 6)
    for sample in range(4):
        _, alone = transformer.place(theta[:, sample])
        torch.testing.assert_close(crops[:, sample], transformer.warp(image, alone), atol=1e-5, rtol=1e-5)
    crops.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_spread_learns_to_shrink_where_the_task_is_sure() -> None:
    """A target without noise wants theta without noise, the divergence from a wide prior wants some."""
    spreads = []
    for weight in (0.0, 0.1):
        torch.manual_seed(0)
        network = ProbabilisticLocalization(Localization(nn.Flatten(), 4, Translation()))
        optimizer = torch.optim.Adam(network.parameters(), 0.03)
        image = torch.rand(8, 1, 2, 2)
        for _ in range(150):
            found = network.predict(image)
            error = (found.draw(8) - 0.5).abs().mean()
            loss = error + weight * found.divergence(1.0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        spreads.append(network.predict(image).spread.mean().item())
    assert spreads[0] < 0.05 < spreads[1] < 1


def test_predictions_are_averaged_as_probabilities() -> None:
    logits = 5 * torch.randn(3, 10, 4, dtype=torch.float64)
    torch.testing.assert_close(average_predictions(logits).exp(), logits.softmax(-1).mean(1))
    one = torch.tensor([[[2000.0, 0.0], [-2000.0, 0.0]]])
    torch.testing.assert_close(average_predictions(one), torch.full((1, 2), math.log(0.5)))


def test_both_heads_learn_at_the_pace_of_localization_networks() -> None:
    transform = Affine()
    network = localization(transform)
    model = nn.Sequential(SpatialTransformer(network, transform), nn.Conv2d(1, 1, 3))
    rest, *slow = parameter_groups(model, lr=1.0, localization_factor=0.1)
    assert {id(p) for group in slow for p in group["params"]} == {id(p) for p in network.parameters()}
    assert len(rest["params"]) == 2


@pytest.mark.parametrize(("words", "message"), [({"spread": 0.0}, "^spread: "), ({"freedom": 0}, "^freedom: ")])
def test_what_is_no_distribution_is_an_error(words: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProbabilisticLocalization(convolutional((1, 16, 16), Affine()), **words)


def test_several_maps_of_an_image_have_no_distribution() -> None:
    several = convolutional((1, 28, 28), Affine(), start=tiles(Affine(), (2, 2)))
    with pytest.raises(ValueError, match="^localization: wanted one map of each image, got 4"):
        ProbabilisticLocalization(several)


@pytest.mark.parametrize("shape", [(4, 10), (4, 0, 10)])
def test_what_is_no_set_of_draws_is_not_averaged(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="^logits: wanted"):
        average_predictions(torch.zeros(shape))


def test_several_features_of_an_image_have_no_distribution_either() -> None:
    localization = ProbabilisticLocalization(recurrent((1, 40, 40), Affine(), steps=3))
    with pytest.raises(ValueError, match="^localization: wanted one map of each image"):
        localization(torch.rand(1, 1, 40, 40))
    with pytest.raises(TypeError, match="^localization: wanted an unwarp.nn.Localization"):
        ProbabilisticLocalization(torch.nn.Flatten())  # pyright: ignore[reportArgumentType]


def test_a_distribution_is_in_full_precision_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = ProbabilisticLocalization(convolutional((1, 16, 16), Affine())).predict(torch.rand(2, 1, 16, 16))
    assert found.mean.dtype == found.spread.dtype == torch.float32


def test_weight_decay_leaves_the_first_spread_alone() -> None:
    network = ProbabilisticLocalization(convolutional((1, 16, 16), Affine()), spread=0.1)
    optimizer = torch.optim.AdamW(parameter_groups(network, lr=0.1), weight_decay=0.5)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(20):
        optimizer.step()
    torch.testing.assert_close(network.log_spread.bias.exp(), torch.full((6,), 0.1))


def test_a_precision_of_zero_has_finite_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: torch.zeros(*shape))
    spread = torch.ones(2, 3, requires_grad=True)
    ThetaDistribution(torch.zeros(2, 3), spread, 1).draw(4).sum().backward()
    assert spread.grad is not None
    assert spread.grad.isfinite().all()
