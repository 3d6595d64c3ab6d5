"""Several spatial transformers that look at the same image side by side (arXiv 1506.02025, sections 3.4 and 4.3).

They are one `SpatialTransformer` whose localization gives theta `[N, K, P]`: K networks, `ParallelLocalization`, or one
for all, `Localization(..., start=...)` with a start `[K, P]`. It gives `[N, K, C, *size]` and never copies the image.
`nn.Flatten(1, 2)` puts the outputs side by side as channels `[N, K C, *size]`; `PerMap` hands them to networks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unwarp.checks import check_size
from unwarp.coordinates import identity_grid
from unwarp.transforms import Transform


class ParallelLocalization(nn.Module):
    """K localization networks of the same image `[N, C, *in]`, each with a theta of its own: `[N, K, P]`.

    Args:
        networks: at least one, each from `[N, C, *in]` to `[N, P]`, for one transform.

    Raises:
        ValueError: for no network.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = _at_least_one(networks)

    def forward(self, image: Tensor) -> Tensor:
        """Theta `[N, K, P]`."""
        return torch.stack([network(image) for network in self.networks], dim=1)


class PerMap(nn.Module):
    """Hands the K outputs of a spatial transformer to K networks, or to one that serves them all.

    Args:
        networks: K modules from `[N, C, *size]` to `[N, *out]`, or a single one, which sees the outputs as one batch of
            N K images.

    Raises:
        ValueError: for no network; when called, for another number of outputs than there are networks.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = _at_least_one(networks)

    def forward(self, images: Tensor) -> Tensor:
        """What the networks make of `images [N, K, C, *size]`: `[N, K, *out]`."""
        if len(self.networks) == 1:
            return self.networks[0](images.flatten(0, 1)).unflatten(0, images.shape[:2])
        if images.shape[1] != len(self.networks):
            raise ValueError(f"images: wanted [N, {len(self.networks)}, C, *size], got {list(images.shape)}")
        return torch.stack([network(image) for network, image in zip(self.networks, images.unbind(1), strict=True)], 1)


def tiles(transform: Transform, counts: Sequence[int]) -> Tensor:
    """Thetas `[K, P]` centred on the tiles of the image plane, as starts of K maps that look at different places.

    They shift and do nothing else: give the spatial transformer a `window`, such as 0.5, to show a tile and not more.

    Args:
        transform: what theta means; one that can shift.
        counts: how many tiles along each spatial axis, in the order of the image's axes; K is the product.

    Raises:
        ValueError: for a transform that cannot shift, or whose bounds are too narrow for the tiles.

    >>> from unwarp.transforms import Translation
    >>> tiles(Translation(), (1, 2))
    tensor([[-0.5000,  0.0000],
            [ 0.5000,  0.0000]])
    """
    check_size(counts, transform.ndim, "counts")
    centers = identity_grid(counts).flatten(0, -2)
    # A shift of every control point of a spline is a shift of the whole.
    moving = [index for index, kind in enumerate(transform.kinds) if kind in ("translation", "offset")]
    if not moving:
        raise ValueError(f"transform: wanted one that can shift, got {transform!r}")
    components = torch.tensor([float(kind == "scale") for kind in transform.kinds]).repeat(len(centers), 1)
    components[:, moving] = centers.repeat(1, len(moving) // transform.ndim)
    return transform.from_components(components)


def _at_least_one(networks: Sequence[nn.Module]) -> nn.ModuleList:
    if not networks:
        raise ValueError("networks: wanted at least one, got none")
    return nn.ModuleList(networks)
