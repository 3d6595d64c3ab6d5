"""Several spatial transformers in one network, also on its feature maps (arXiv 1506.02025, "ST-CNN Multi", A.5)."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from unwarp.nn import Localization, SpatialTransformer, fully_connected
from unwarp.transforms import Transform

# The paper puts one before each of the first four convolutions, with two hidden layers of 32 units to predict theta.
_CONVOLUTIONS = 4
_HIDDEN = (32, 32)


def small_localization(in_shape: Sequence[int], transform: Transform) -> Localization:
    """The paper's localization network for transformers at any depth: two hidden layers of 32 units."""
    return fully_connected(in_shape, transform, hidden=_HIDDEN)


def insert_transformers(
    network: nn.Sequential, in_shape: Sequence[int], transform: Transform, *, leash: float = 0.0
) -> nn.Sequential:
    """A network with a spatial transformer before each of its second to fourth convolutions.

    Before the first, on the image itself, the classifier has its own. Each keeps the size of what it warps and starts
    at the identity: the network computes at first what it did without them.

    Args:
        network: layers, none nested.
        in_shape: `(C, H, W)` of what it takes.
        transform: what the thetas mean.
        leash: see `SpatialTransformer`.
    """
    layers: list[nn.Module] = []
    # Shapes are found on the meta device, where nothing is computed.
    features, convolutions = torch.empty(2, *in_shape, device="meta"), 0
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            if 0 < convolutions < _CONVOLUTIONS:
                localization = small_localization(features.shape[1:], transform)
                layers.append(SpatialTransformer(localization, transform, leash=leash))
            convolutions += 1
        layers.append(layer)
        features = copy.deepcopy(layer).to("meta")(features)
    return nn.Sequential(*layers)
