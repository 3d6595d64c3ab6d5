import pytest
import torch
from torch import nn

from unwarp.models import build_model
from unwarp.models.convnet import convnet
from unwarp.models.jaderberg import cnn
from unwarp.models.multi import insert_transformers
from unwarp.nn import SpatialTransformer, parameter_groups, watch
from unwarp.transforms import Affine


def transformers(network: nn.Module) -> list[SpatialTransformer]:
    return [module for module in network.modules() if isinstance(module, SpatialTransformer)]


@pytest.mark.parametrize(("make", "count"), [(cnn, 1), (convnet, 3)])
def test_inserted_transformers_change_nothing_at_first(make, count: int) -> None:
    network = make((3, 30, 40), 6).eval()
    deeper = insert_transformers(network, (3, 30, 40), Affine()).eval()
    assert len(transformers(deeper)) == count
    image = torch.rand(2, 3, 30, 40)
    torch.testing.assert_close(deeper(image), network(image))


def test_at_most_four_convolutions_have_one() -> None:
    network = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(7)))
    deeper = insert_transformers(network, (2, 9, 9), Affine())
    kinds = "".join("T" if isinstance(layer, SpatialTransformer) else "c" for layer in deeper)
    assert kinds == "cTcTcTcccc"


@pytest.mark.parametrize(("name", "count"), [("multi-st-cnn", 2), ("multi-st-convnet", 4)])
def test_every_depth_has_its_own_maps_and_learns(name: str, count: int) -> None:
    model = build_model(name, (3, 32, 32), 10, crop=(28, 28), window=0.5)
    assert len(transformers(model)) == count
    with watch(model) as maps:
        logits = model(torch.rand(4, 3, 32, 32))
    assert [len(found) for found in maps.values()] == [1] * count
    logits.square().sum().backward()
    for transformer in transformers(model):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in transformer.parameters())
    groups = parameter_groups(model, lr=1.0, localization_factor=0.1)
    assert sum(len(group["params"]) for group in groups[1:]) == sum(
        len(list(t.parameters())) for t in transformers(model)
    )


def test_it_has_about_as_many_parameters_as_asked_for() -> None:
    model = build_model("multi-st-cnn", (3, 48, 48), 43, crop=(28, 28))
    assert 0.95 * 400_000 <= sum(p.numel() for p in model.parameters()) <= 400_000
