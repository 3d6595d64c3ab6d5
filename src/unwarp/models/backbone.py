"""Classification networks that are not ours, by name."""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn


def import_backbone(path: str, in_shape: Sequence[int], outputs: int) -> nn.Module:
    """A network from images `[N, *in_shape]` in 0..1 to logits `[N, outputs]`.

    Args:
        path: `package.module:Class`, called as `Class(in_shape, outputs)`; or `timm:NAME`, a network of timm with the
            weights it was trained to, which are downloaded once.
        in_shape: `(C, H, W)`.
        outputs: how many.

    Raises:
        ValueError: if there is no such class or network, or it makes none for these images.
    """
    module, _, name = path.partition(":") if isinstance(path, str) else ("", "", "")
    if not module or not name:
        raise ValueError(f"backbone: wanted package.module:Class or timm:NAME, got {path!r}")
    try:
        imported = import_module(module)
        make = partial(Pretrained, name) if module == "timm" else getattr(imported, name)
    except (ImportError, AttributeError, RuntimeError) as error:
        raise ValueError(f"backbone: wanted one that can be imported, got {path!r}: {error}") from error
    try:
        backbone = make(tuple(in_shape), outputs)
    except Exception as error:  # whatever the code of others raises
        raise ValueError(
            f"backbone: wanted one that can be made of a shape and a number, got {path!r}: {error}"
        ) from error
    if not isinstance(backbone, nn.Module):
        raise ValueError(f"backbone: wanted a torch.nn.Module from {path!r}, got {type(backbone).__name__}")
    backbone.eval()
    try:
        with torch.no_grad():
            logits = backbone(torch.zeros(2, *in_shape))
    except Exception as error:
        raise ValueError(
            f"backbone: wanted one that takes images [2, {', '.join(map(str, in_shape))}], got {path!r}: {error}"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (2, outputs):
        raise ValueError(
            f"backbone: wanted logits [2, {outputs}] for images [2, {', '.join(map(str, in_shape))}], got {shape}"
        )
    return backbone.train()


class Pretrained(nn.Module):
    """A network of timm with the weights it was trained to, and a new last layer, for images in 0..1.

    Args:
        name: as timm has it.
        in_shape: `(C, H, W)`.
        outputs: of the last layer.

    Raises:
        RuntimeError, OSError: timm's, for a name that it does not know, or weights that it cannot download.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, in_shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        timm: Any = import_module("timm")
        self.network = timm.create_model(name, pretrained=True, in_chans=in_shape[0], num_classes=outputs)
        normal = timm.data.resolve_model_data_config(self.network)
        for key in ("mean", "std"):
            of_colours = torch.tensor(normal[key])
            of_channels = of_colours if len(of_colours) == in_shape[0] else of_colours.mean().expand(in_shape[0])
            self.register_buffer(key, of_channels.reshape(-1, 1, 1).clone())

    def forward(self, image: Tensor) -> Tensor:
        """Logits `[N, outputs]` of `image [N, C, H, W]`."""
        return self.network((image - self.mean) / self.std)
