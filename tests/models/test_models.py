from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unwarp.maps import LinearMap
from unwarp.models import MODELS, TRANSFORMS, Classifier, build_model, build_transform
from unwarp.models.lin import lin_classifier, lin_cnn, lin_localization
from unwarp.nn import Localization, SpatialTransformer
from unwarp.transforms import Attention, Bounded, Projective, Translation
from unwarp.warping import warp


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("in_shape", "steps"), [((1, 42, 42), None), ((3, 36, 48), None), ((1, 36, 48), 3)])
def test_every_model_classifies_and_learns(name: str, in_shape: tuple[int, ...], steps: int | None) -> None:
    if name == "st-recurrent":
        steps = steps or 1
    model = build_model(name, in_shape, 7, steps=steps, parameters=700_000)
    logits = model(torch.rand(4, *in_shape))
    assert logits.shape == ((4, 7) if steps is None else (4, steps, 7))
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["fcn", "cnn", "st-fcn", "st-cnn"])
@pytest.mark.parametrize("in_shape", [(1, 28, 28), (1, 42, 42), (1, 60, 60), (2, 42, 42)])
def test_the_papers_networks_have_about_400k_parameters(name: str, in_shape: tuple[int, ...]) -> None:
    for normalize in (False, True):
        assert 0.95 * 400_000 <= parameters(build_model(name, in_shape, 10, normalize=normalize)) <= 400_000


@pytest.mark.parametrize("name", ["fcn", "cnn", "st-fcn", "st-cnn", "pst-cnn", "2st-fcn"])
def test_to_normalized_networks_contrast_is_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, (1, 28, 28), 10, normalize=True)
    for layer in model.modules():
        if isinstance(layer, Localization):
            nn.init.normal_(layer.head.weight, std=0.1)
    pictures, logits = 100 * torch.rand(8, 1, 28, 28), []
    for contrast in (1, 3):
        torch.manual_seed(1)
        logits.append(model(contrast * pictures))
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ["fcn", "cnn", "st-fcn", "2st-fcn"])
@pytest.mark.parametrize("transform", ["affine", "projective", "tps"])
def test_the_networks_that_add_have_about_400k_parameters(name: str, transform: str) -> None:
    model = build_model(name, (2, 42, 42), 19, transform=build_transform(transform), crop=(20, 20))
    assert 0.95 * 400_000 <= parameters(model) <= 400_000


def test_too_few_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="^parameters: wanted at least"):
        build_model("4st-fcn", (3, 48, 48), 10)


@pytest.mark.parametrize("name", ["convnet", "st-convnet", "pst-convnet"])
@pytest.mark.parametrize("transform", ["rotation", "affine", "tps"])
def test_every_model_classifies_the_projection_of_a_volume(name: str, transform: str) -> None:
    model = build_model(name, (1, 16, 16, 16), 3, transform=build_transform(transform, 3), crop=(8, 10, 12))
    volumes = torch.rand(2, 1, 16, 16, 16)
    model(volumes).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    seen = model.straighten(volumes)
    assert seen.image.shape[2:] == ((16, 16, 16) if name == "convnet" else (8, 10, 12))


def test_a_probabilistic_model_draws_in_training_and_averages_in_evaluation() -> None:
    model = build_model("pst-cnn", (1, 28, 28), 10, samples=7)
    image = torch.rand(3, 1, 28, 28)
    first, second = model.straighten(image), model.straighten(image)
    assert first.distribution is not None
    assert first.draws is None
    assert not torch.equal(first.image, second.image)
    model.eval()
    seen = model.straighten(image)
    assert seen.pull is not None
    torch.testing.assert_close(seen.image, image, atol=1e-5, rtol=0)  # the mean is still the identity
    assert seen.draws is not None
    assert seen.draws.shape == (3, 7, 1, 28, 28)
    wanted = torch.stack([model.backbone(seen.draws[:, k]).softmax(1) for k in range(7)]).mean(0)
    torch.testing.assert_close(model(image).exp(), wanted)
    assert torch.equal(model(image), model(image))


def test_a_probabilistic_transformer_is_alone() -> None:
    once = {"passes": 1, "window": 0.5}
    cases: list[dict[str, Any]] = [{"num_transformers": 2}, {"passes": 2}, {"look": True}, once]
    for words in cases:
        with pytest.raises(ValueError, match="^transformers: wanted a probabilistic one alone"):
            build_model("pst-cnn", (1, 28, 28), 10, **words)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("bounded", [False, True])
def test_every_transform_straightens_from_the_identity(name: str, bounded: bool) -> None:
    transform = build_transform(name, bounded=bounded)
    assert isinstance(transform, Bounded) == bounded
    model = build_model("st-convnet", (1, 28, 28), 10, transform=transform)
    image = torch.rand(2, 1, 28, 28)
    seen = model.straighten(image)
    torch.testing.assert_close(seen.image, image)
    assert seen.pull is not None


def test_a_crop_is_what_the_backbone_sees() -> None:
    model = build_model("st-convnet", (1, 42, 42), 10, crop=(20, 20))
    assert model.straighten(torch.rand(2, 1, 42, 42)).image.shape == (2, 1, 20, 20)


def test_transformers_in_a_row_read_the_original_image_through_the_composed_map() -> None:
    class Fixed(nn.Module):
        def __init__(self, theta: list[float]) -> None:
            super().__init__()
            self.theta = torch.tensor(theta)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.theta.expand(len(image), -1)

    first, second = [0.5, 0.3, 0.0], [1.5, 0.0, -0.2]
    steps = [SpatialTransformer(Fixed(theta), Attention()) for theta in (first, second)]
    image = torch.rand(2, 1, 16, 16)
    seen = Classifier(nn.Flatten(), steps).straighten(image)
    composed = Attention()(torch.tensor([first] * 2)) @ Attention()(torch.tensor([second] * 2))
    assert isinstance(seen.pull, LinearMap)
    torch.testing.assert_close(seen.image, warp(image, composed))


def test_several_transformers_are_built_in_a_row() -> None:
    model = build_model("st-cnn", (1, 42, 42), 10, num_transformers=3, crop=(30, 30))
    assert model.cascade is not None
    assert len(model.cascade.transformers) == 3
    assert model(torch.rand(2, 1, 42, 42)).shape == (2, 10)


def test_passes_cost_no_parameters() -> None:
    twice, often = (build_model("st-convnet", (1, 28, 28), 10, passes=passes, crop=(20, 20)) for passes in (2, 3))
    assert sum(p.numel() for p in often.parameters()) == sum(p.numel() for p in twice.parameters())
    assert often.cascade is not None
    aligned = often.cascade.align(torch.rand(2, 1, 28, 28))
    assert len(aligned.thetas) == 3
    assert aligned.image.shape == (2, 1, 20, 20)


def test_a_cascade_of_one_looks_at_a_window_and_reads_the_whole_image() -> None:
    how: dict[str, Any] = {"transform": Translation(), "crop": (14, 14), "window": 0.5}
    cascade, alone = (build_model("st-lin-cnn", (1, 28, 28), 10, passes=passes, **how).cascade for passes in (1, None))
    assert cascade is not None
    assert alone is not None
    image = torch.rand(2, 1, 28, 28)
    assert cascade.align(image).image.shape == (2, 1, 14, 14)
    torch.testing.assert_close(cascade(image), image[..., 7:21, 7:21])
    torch.testing.assert_close(cascade(image), alone(image))
    border = F.pad(image[..., 7:21, 7:21], (7, 7, 7, 7))
    torch.testing.assert_close(cascade.align(image).thetas[0], cascade.align(border).thetas[0])
    for model, sees in ((cascade, (14, 14)), (alone, (28, 28))):
        (transformer,) = model.transformers
        assert isinstance(transformer, SpatialTransformer)
        assert transformer.localization(torch.rand(2, 1, *sees)).shape == (2, 2)


def test_a_backbone_of_ones_own_takes_the_place_of_the_network() -> None:
    def make(in_shape: Sequence[int], num_outputs: int) -> nn.Module:
        assert in_shape == (3, 20, 20)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 20 * 20, num_outputs), nn.Tanh())

    model = build_model("st-fcn", (3, 32, 32), 4, crop=(20, 20), backbone=make)
    assert isinstance(model.backbone, nn.Sequential)
    assert isinstance(model.backbone[-1], nn.Tanh)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 4)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="^model: wanted one of"):
        build_model("resnet", (1, 28, 28), 10)
    with pytest.raises(ValueError, match="^transform: wanted one of"):
        build_transform("bilinear")
    with pytest.raises(ValueError, match="^parallel: wanted one of"):
        build_model("2st-cnn", (1, 28, 28), 10, parallel="sums")
    with pytest.raises(ValueError, match="^transformers, passes, look: wanted 1, None and no look for 2st-cnn"):
        build_model("2st-cnn", (1, 28, 28), 10, passes=2)
    with pytest.raises(ValueError, match="^transformers: wanted 1 for pst-cnn"):
        build_model("pst-cnn", (1, 28, 28), 10, look=True, num_transformers=0)
    with pytest.raises(ValueError, match="^backbone: wanted none for multi-st-cnn"):
        build_model("multi-st-cnn", (1, 28, 28), 10, backbone=lambda in_shape, outputs: nn.Flatten())
    with pytest.raises(ValueError, match="^in_shape: wanted"):
        build_model("cnn", (1, 20, 20), 10)


def test_the_networks_of_lin_and_lucey_have_the_parameters_of_their_paper() -> None:
    shape = (1, 28, 28)
    assert parameters(lin_cnn(shape, 10)) == 39_079
    assert parameters(lin_localization(shape, Projective())) + parameters(lin_classifier(shape, 10)) == 39_048
    with pytest.raises(ValueError, match="^in_shape: wanted"):
        lin_cnn((1, 9, 9), 10)


def test_what_a_probabilistic_model_says_of_a_picture_does_not_depend_on_the_others() -> None:
    model = build_model("pst-convnet", (1, 16, 16), 10).eval()
    images = torch.rand(4, 1, 16, 16)
    torch.testing.assert_close(model(images), torch.cat([model(image.unsqueeze(0)) for image in images]))


@pytest.mark.parametrize("ndim", [2, 3])
def test_bounds_keep_the_horizon_outside(ndim: int) -> None:
    transform = build_transform("projective", ndim, bounded=True)
    theta = torch.zeros(1, transform.num_params)
    theta[:, -ndim:] = -100.0
    assert transform(theta).grid((5,) * ndim).abs().max() < 20


@pytest.mark.parametrize("name", ["fcn", "cnn", "convnet", "st-cnn"])
def test_dropout_and_what_a_transformer_is_told_reach_it(name: str) -> None:
    model = build_model(name, (1, 40, 40), 10, dropout=0.3, leash=0.7, jitter=0.2)
    assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [0.3]
    told = [(m.leash, m.jitter) for m in model.modules() if isinstance(m, SpatialTransformer)]
    assert told == ([(0.7, 0.2)] if name == "st-cnn" else [])


def test_networks_of_crops_share_the_parameters() -> None:
    model = build_model("4st-fcn", (1, 42, 42), 10, parallel="crops", crop=(20, 20))
    assert 0.9 * 400_000 <= parameters(model) <= 400_000


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"num_transformers": 0}, "transformers"),
        ({"passes": 0}, "passes"),
        ({"passes": 1.5}, "passes"),
        ({"steps": 0}, "steps"),
        ({"samples": 0}, "samples"),
        ({"crop": (0, 5)}, "crop"),
        ({"projection": "mean"}, "projection"),
        ({"in_shape": (28, 28)}, "in_shape"),
        ({"in_shape": 28}, "in_shape"),
    ],
)
def test_models_of_impossible_numbers_are_refused(words: dict[str, Any], named: str) -> None:
    how = {"in_shape": (1, 28, 28), "num_classes": 3} | words
    with pytest.raises((TypeError, ValueError), match=f"^{named}: wanted"):
        build_model("st-convnet", **how)
