"""From a volume to a picture: sums or maxima along its depth (arXiv 1506.02025, A.3)."""

from torch import Tensor, nn

from unwarp.checks import check_choice, check_image

PROJECTIONS = ("sum", "max")


def project(volume: Tensor, how: str = "sum") -> Tensor:
    """What is seen of `volume [N, C, D, H, W]` along its first spatial axis, `[N, C, H, W]`.

    Args:
        volume: the volume.
        how: "sum", as in the paper, or "max".

    Raises:
        TypeError, ValueError: for another word, or what is no volume.
    """
    check_choice("how", how, PROJECTIONS)
    check_image(volume, "volume")
    if volume.ndim != 5:
        raise ValueError(f"volume: wanted [N, C, D, H, W], got {list(volume.shape)}")
    return volume.sum(2) if how == "sum" else volume.amax(2)


class Projection(nn.Module):
    """`project` as a layer: after a `SpatialTransformer` with a 3-D transform, it makes a picture of a turned volume.

    Args:
        how: "sum" or "max".
    """

    def __init__(self, how: str = "sum") -> None:
        super().__init__()
        check_choice("how", how, PROJECTIONS)
        self.how = how

    def forward(self, volume: Tensor) -> Tensor:
        """The picture `[N, C, H, W]` of `volume [N, C, D, H, W]`."""
        return project(volume, self.how)

    def extra_repr(self) -> str:
        """What a print of the module says."""
        return self.how


def seen_from_front(images: Tensor) -> Tensor:
    """Pictures `[N, C, H, W]` to look at: the brightest along the depth of volumes, and pictures as they are."""
    return project(images, "max") if images.ndim == 5 else images
