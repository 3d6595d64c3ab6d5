from collections.abc import Sequence

import pytest
import torch
from torch import nn

from unwarp.models import build_model, build_transform
from unwarp.models.side_by_side import NetworksOfCrops
from unwarp.nn import Localization, ParallelLocalization, SpatialTransformer, diagnose


def linear(in_shape: Sequence[int], outputs: int) -> nn.Module:
    channels, height, width = in_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, outputs))


def transformer_of(model: nn.Module) -> SpatialTransformer:
    (found,) = [module for module in model.modules() if isinstance(module, SpatialTransformer)]
    return found


@pytest.mark.parametrize("count", [2, 4])
def test_channels_have_a_localization_network_each(count: int) -> None:
    model = build_model(f"{count}st-cnn", (2, 42, 42), 19, crop=(24, 24))
    localization = transformer_of(model).localization
    assert isinstance(localization, ParallelLocalization)
    assert len(localization.networks) == count
    image = torch.rand(3, 2, 42, 42)
    seen = model.straighten(image)
    assert seen.image.shape == (3, count, 2, 24, 24)
    assert seen.pull is not None
    assert seen.pull.batch == (3, count)
    assert next(layer for layer in model.backbone.modules() if isinstance(layer, nn.Conv2d)).in_channels == 2 * count


@pytest.mark.parametrize("parallel", ["crops", "shared-crops"])
def test_crops_start_on_tiles_and_share_their_localization_network(parallel: str) -> None:
    model = build_model(
        "4st-convnet",
        (3, 32, 32),
        5,
        transform=build_transform("translation"),
        window=0.5,
        parallel=parallel,
        crop=(16, 16),
    )
    localization = transformer_of(model).localization
    assert isinstance(localization, Localization)
    assert localization.head.out_features == 8  # two numbers for each: the scale is fixed (A.6)
    image = torch.rand(2, 3, 32, 32)
    seen = model.straighten(image)
    pieces = [image[:, :, y : y + 16, x : x + 16] for y in (0, 16) for x in (0, 16)]
    assert torch.equal(seen.image, torch.stack(pieces, 1))
    assert seen.pull is not None
    torch.testing.assert_close(diagnose(seen.pull, (16, 16)).scale, torch.full((2, 4), 0.5))


def test_the_sum_of_logits_is_a_layer_over_concatenated_features() -> None:
    crops = torch.rand(5, 3, 2, 4, 4)
    separate = NetworksOfCrops(linear, 3, (2, 4, 4), 7, shared=False)
    layers = [module for module in separate.modules() if isinstance(module, nn.Linear)]
    weight = torch.cat([layer.weight for layer in layers], dim=1)
    bias = torch.stack([layer.bias for layer in layers]).sum(0)
    torch.testing.assert_close(separate(crops), crops.flatten(1) @ weight.T + bias)

    shared = NetworksOfCrops(linear, 3, (2, 4, 4), 7, shared=True)
    (layer,) = [module for module in shared.modules() if isinstance(module, nn.Linear)]
    weight = layer.weight.unflatten(0, (3, 7)).movedim(0, 1).flatten(1)
    torch.testing.assert_close(shared(crops), crops.flatten(1) @ weight.T + layer.bias.unflatten(0, (3, 7)).sum(0))


def test_a_network_of_ones_own_is_made_for_each_crop_or_once() -> None:
    made: list[tuple[tuple[int, ...], int]] = []

    def make(in_shape: Sequence[int], outputs: int) -> nn.Module:
        made.append((tuple(in_shape), outputs))
        return linear(in_shape, outputs)

    for parallel in ("crops", "shared-crops", "channels"):
        model = build_model("2st-cnn", (3, 28, 28), 7, crop=(14, 14), parallel=parallel, backbone=make)
        assert model(torch.rand(2, 3, 28, 28)).shape == (2, 7)
    places = ((3, 28, 28), 128)  # of the localization network of all crops
    crops = [places, ((3, 14, 14), 7), ((3, 14, 14), 7)]
    assert made == [*crops, places, ((3, 14, 14), 14), ((6, 14, 14), 7)]
