"""What networks make of the outputs of spatial transformers side by side, `[N, K, C, *size]`."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from unwarp.nn import PerMap

# How many transformers along each axis of the picture, by the kind of model: crops start on such tiles of it.
SIDE_BY_SIDE = {"2st": (1, 2), "4st": (2, 2)}
# What becomes of their outputs; see `build_model`.
PARALLEL = ("channels", "crops", "shared-crops")


def network_of_channels(
    make: Callable[[Sequence[int], int], nn.Module], count: int, in_shape: Sequence[int], num_classes: int
) -> nn.Module:
    """One network that sees the outputs as channels, side by side (arXiv 1506.02025, MNIST addition).

    Args:
        make: makes a network from `(C, H, W)` and its number of outputs.
        count: how many outputs of the transformers there are, K.
        in_shape: `(C, H, W)` of one of them.
        num_classes: number of classes.
    """
    channels, *size = in_shape
    return nn.Sequential(nn.Flatten(1, 2), make((count * channels, *size), num_classes))


class NetworksOfCrops(nn.Module):
    """A softmax layer over the concatenated features of all crops, from a network for each (arXiv 1506.02025, A.6).

    The logits are the sum of those of the networks: each ends in the rows of that layer that read its own features. A
    network that serves all crops has such rows for each of them.

    Args:
        make: makes a network from `(C, H, W)` and its number of outputs.
        count: how many crops there are, K.
        in_shape: `(C, H, W)` of a crop.
        num_classes: number of classes.
        shared: whether one network serves all crops; otherwise each has its own.
    """

    def __init__(
        self,
        make: Callable[[Sequence[int], int], nn.Module],
        count: int,
        in_shape: Sequence[int],
        num_classes: int,
        *,
        shared: bool,
    ) -> None:
        super().__init__()
        self.count, self.shared = count, shared
        outputs = count * num_classes if shared else num_classes
        self.networks = PerMap([make(in_shape, outputs) for _ in range(1 if shared else count)])

    def forward(self, crops: Tensor) -> Tensor:
        """Logits `[N, classes]` of `crops [N, K, C, *size]`."""
        logits = self.networks(crops)
        if self.shared:
            return logits.unflatten(2, (self.count, -1)).diagonal(dim1=1, dim2=2).sum(-1)
        return logits.sum(1)
