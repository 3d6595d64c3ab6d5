import pytest
import torch
from torch import Tensor, nn

from unwarp import Affine, Attention, SpatialTransformer, Translation, warp
from unwarp.nn import Localization, RecurrentFeatures, parameter_groups, pooled_convolutions, recurrent


@pytest.mark.parametrize("in_shape", [(3, 60), (2, 40, 50), (1, 36, 38, 40)])
@pytest.mark.parametrize("steps", [1, 4])
def test_it_starts_at_the_identity_at_every_step(in_shape: tuple[int, ...], steps: int) -> None:
    transform = Affine(len(in_shape) - 1)
    theta = recurrent(in_shape, transform, steps=steps, hidden=8)(torch.rand(5, *in_shape))
    assert torch.equal(theta, transform.identity.expand(5, steps, -1))


def test_every_step_has_an_output_of_its_own_of_the_size_asked_for() -> None:
    transform = Attention()
    localization = recurrent((1, 40, 40), transform, steps=3, hidden=8, perturbation=0.5)
    straighten = SpatialTransformer(localization, transform, size=(12, 10))
    image = torch.rand(2, 1, 40, 40)
    aligned = straighten.align(image)
    assert aligned.image.shape == (2, 3, 1, 12, 10)
    assert aligned.pull.batch == (2, 3)
    assert (aligned.theta[:, 0] - aligned.theta[:, 1]).abs().min() > 0
    for step in range(3):
        torch.testing.assert_close(aligned.image[:, step], warp(image, transform(aligned.theta[:, step]), (12, 10)))


def test_a_longer_sequence_begins_as_a_shorter_one() -> None:
    short = recurrent((1, 40, 40), Affine(), steps=2, perturbation=0.1)
    long = recurrent((1, 40, 40), Affine(), steps=5)
    long.load_state_dict(short.state_dict())
    image = torch.rand(3, 1, 40, 40)
    torch.testing.assert_close(long(image)[:, :2], short(image))


def test_the_image_is_encoded_once() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, image: Tensor) -> Tensor:
            self.calls += 1
            return image.flatten(1)

    encoder = Counting()
    features = RecurrentFeatures(encoder, 12, steps=6, hidden=5)
    assert features(torch.rand(2, 3, 2, 2)).shape == (2, 6, 5)
    assert encoder.calls == 1


def test_it_learns_to_look_at_one_thing_after_the_other() -> None:
    """Two bright squares, the left one first: the outputs are to show them in the middle."""
    transform = Translation()
    localization = recurrent((1, 20, 20), transform, steps=2, channels=(8,), hidden=16)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(parameter_groups(localization, lr=5e-3))
    loss = torch.tensor(0.0)
    for _ in range(60):
        x = torch.stack([torch.randint(0, 7, (32,), generator=generator) + 10 * side for side in (0, 1)], 1)
        y = torch.randint(0, 17, (32, 2), generator=generator)
        image = torch.zeros(32, 1, 20, 20)
        for row in range(32):
            for side in (0, 1):
                image[row, 0, y[row, side] : y[row, side] + 3, x[row, side] : x[row, side] + 3] = 1
        centre = (torch.stack([x, y], -1) + 1.5) / 10 - 1
        loss = (localization(image) - centre).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.07  # without looking, that is with the mean of each step, 0.13


def test_all_of_it_learns_at_the_rate_of_a_localization_network() -> None:
    network = nn.Sequential(recurrent((1, 40, 40), Affine(), steps=2), nn.Linear(6, 2))
    rest, *slow = parameter_groups(network, lr=1.0, localization_factor=0.1)
    assert [group["lr"] for group in slow] == [pytest.approx(0.1)] * len(slow)
    assert len(rest["params"]) == 2
    assert {id(p) for group in slow for p in group["params"]} == {id(p) for p in network[0].parameters()}


def test_the_gradient_reaches_the_encoder_once_the_head_has_weights() -> None:
    transform = Affine()
    localization = recurrent((1, 40, 40), transform, steps=3, perturbation=0.01)
    SpatialTransformer(localization, transform, size=(10, 10))(torch.rand(2, 1, 40, 40)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in localization.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_theta_stays_in_full_precision(dtype: torch.dtype) -> None:
    with torch.autocast("cpu", dtype):
        theta = recurrent((1, 40, 40), Affine(), steps=2, perturbation=0.1)(torch.rand(2, 1, 40, 40))
    assert theta.dtype == torch.float32


def test_the_size_of_its_features_is_what_it_says() -> None:
    for in_shape in ((1, 100, 100), (3, 37, 64)):
        encoder, count = pooled_convolutions(in_shape)
        assert encoder(torch.rand(2, *in_shape)).shape == (2, count)
    assert pooled_convolutions((1, 100, 100))[1] == 1620  # of the published network


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="^in_shape: wanted larger"):
        recurrent((1, 35, 60), Affine(), steps=3)
    with pytest.raises(ValueError, match="^steps: wanted"):
        recurrent((1, 40, 40), Affine(), steps=0)
    with pytest.raises(ValueError, match="^hidden: wanted"):
        recurrent((1, 40, 40), Affine(), steps=1, hidden=0)


def test_features_for_several_maps_fit_any_localization_head() -> None:
    features = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (4, 9)))
    assert Localization(features, 9, Affine())(torch.rand(2, 1, 6, 6)).shape == (2, 4, 6)
