import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from unwarp.models import build_model, import_backbone
from unwarp.nn import Localization, tiles
from unwarp.transforms import Translation


class FromTimm(nn.Module):
    """What stands for a network of timm: mean colours of the picture, and a layer."""

    def __init__(self, in_chans: int, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_chans, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.image = image
        return self.layer(image.mean((2, 3)))


def _create_model(name: str, *, pretrained: bool, in_chans: int, num_classes: int) -> nn.Module:
    assert pretrained
    if name != "resnet50":
        raise RuntimeError(f"Unknown model ({name})")
    return FromTimm(in_chans, num_classes)


def stand_in() -> SimpleNamespace:
    """As much of timm as is used of it."""
    normal = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 0.75)}
    return SimpleNamespace(
        create_model=_create_model, data=SimpleNamespace(resolve_model_data_config=lambda network: normal)
    )


@pytest.fixture(autouse=True)
def _timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", stand_in())


def test_a_network_of_timm_is_shown_what_it_learned_from() -> None:
    network = import_backbone("timm:resnet50", (3, 8, 8), 5)
    assert network.training
    image = torch.rand(2, 3, 8, 8)
    assert network(image).shape == (2, 5)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 0.75])
    shown = network.network.image  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(shown, (image - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1))


def test_grey_pictures_are_shown_in_the_mean_of_the_colours() -> None:
    network = import_backbone("timm:resnet50", (1, 8, 8), 5)
    image = torch.rand(2, 1, 8, 8)
    network(image)
    shown = network.network.image  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(shown, (image - 0.2) / 0.5)


def test_what_timm_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="^backbone: wanted one that can be made .*, got 'timm:nothing': "):
        import_backbone("timm:nothing", (3, 8, 8), 5)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="^backbone: wanted one that can be imported, got 'timm:resnet50'"):
        import_backbone("timm:resnet50", (3, 8, 8), 5)


def test_a_network_whose_own_library_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("of_mine")

    def make(in_shape: Sequence[int], outputs: int) -> nn.Module:
        raise ModuleNotFoundError("No module named 'rare'", name="rare")

    module.make = make
    monkeypatch.setitem(sys.modules, "of_mine", module)
    with pytest.raises(
        ValueError, match="^backbone: wanted one that can be made .* 'of_mine:make': No module named 'rare'"
    ):
        import_backbone("of_mine:make", (3, 8, 8), 5)


@pytest.mark.parametrize(("parallel", "networks"), [("crops", 4), ("shared-crops", 1)])
def test_crops_are_placed_by_the_features_of_such_a_network(parallel: str, networks: int) -> None:
    make = partial(import_backbone, "timm:resnet50")
    transform = Translation()
    how: dict[str, Any] = {"transform": transform, "parallel": parallel, "crop": (16, 16), "backbone": make}
    model = build_model("4st-convnet", (3, 32, 32), 7, **how)
    assert sum(isinstance(module, FromTimm) for module in model.modules()) == networks + 1
    assert model.cascade is not None
    (transformer,) = model.cascade.transformers
    localization = transformer.localization
    assert isinstance(localization, Localization)
    theta = localization(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(theta, tiles(transform, (2, 2)).expand(2, -1, -1))
    logits = model(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert localization.head.weight.grad is not None


@pytest.mark.parametrize("result", [lambda images: (images, images), lambda images: images @ torch.zeros(3, 3)])
def test_a_network_that_makes_nothing_of_such_images_is_refused(
    result: Callable[[torch.Tensor], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Network(nn.Module):
        def forward(self, images: torch.Tensor) -> Any:
            return result(images)

    module: Any = ModuleType("of_mine")
    module.make = lambda in_shape, outputs: Network()
    monkeypatch.setitem(sys.modules, "of_mine", module)
    with pytest.raises(ValueError, match="^backbone: wanted"):
        import_backbone("of_mine:make", (3, 8, 8), 5)
