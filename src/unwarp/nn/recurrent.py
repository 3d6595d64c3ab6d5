"""A recurrent localization network: several maps in a row from one look at the image (arXiv 1509.05329)."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from unwarp.checks import check_count
from unwarp.nn.localization import LAYERS, Localization, check_convolutions, check_images
from unwarp.transforms import Transform


class RecurrentFeatures(nn.Module):
    """Features of an image for each of T steps: its encoding, given anew at every step, goes through a GRU.

    Before a `Localization` head they give theta `[N, T, P]`, for which a `SpatialTransformer` returns T outputs of each
    image, which is not copied.

    Args:
        encoder: a module from `[N, C, *in]` to `[N, num_features]`, called once per image.
        num_features: how many features it gives.
        steps: T.
        hidden: units of the GRU, which starts from zeros.

    Raises:
        TypeError, ValueError: for `steps` or `hidden` that are no integers of at least 1.
    """

    def __init__(self, encoder: nn.Module, num_features: int, *, steps: int, hidden: int = 256) -> None:
        super().__init__()
        check_count("steps", steps)
        check_count("hidden", hidden)
        self.encoder = encoder
        self.steps = steps
        self.gru = nn.GRU(num_features, hidden, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        """Features `[N, T, hidden]` of `image [N, C, *in]`."""
        encoding = self.encoder(image).unsqueeze(1)
        states, _ = self.gru(encoding.expand(-1, self.steps, -1))
        return states


def recurrent(
    in_shape: Sequence[int],
    transform: Transform,
    *,
    steps: int,
    channels: Sequence[int] = (20, 20, 20),
    kernel: int = 3,
    hidden: int = 256,
    perturbation: float = 0.0,
) -> Localization:
    """The localization network of the recurrent spatial transformer, RNN-SPN: theta `[N, T, P]`.

    Args:
        in_shape: `(C, *in)`, the shape of one image.
        transform: the transform that theta feeds.
        steps: T, how many maps each image gets.
        channels: see `pooled_convolutions`.
        kernel: see `pooled_convolutions`.
        hidden: units of the GRU.
        perturbation: see `Localization`.

    Raises:
        TypeError, ValueError: for images too small for the convolutions or of another dimension than the transform's,
            or `steps` or `hidden` that are no integers of at least 1.
    """
    check_images(in_shape, transform)
    encoder, num_features = pooled_convolutions(in_shape, channels=channels, kernel=kernel)
    features = RecurrentFeatures(encoder, num_features, steps=steps, hidden=hidden)
    return Localization(features, hidden, transform, perturbation=perturbation)


def pooled_convolutions(
    in_shape: Sequence[int], *, channels: Sequence[int] = (20, 20, 20), kernel: int = 3
) -> tuple[nn.Module, int]:
    """The encoder of RNN-SPN and FFN-SPN: unpadded convolutions, before each a 2× max-pooling.

    Args:
        in_shape: `(C, *in)`, the shape of one image.
        channels: of each convolution.
        kernel: of each convolution.

    Returns:
        A module from `[N, C, *in]` to `[N, F]`, and F.

    Raises:
        TypeError, ValueError: for images of which nothing is left, or what are no images.
    """
    check_convolutions(in_shape, channels)
    check_count("kernel", kernel)
    convolution, _, pool, _ = LAYERS[len(in_shape) - 1]
    layers: list[nn.Module] = []
    size = list(in_shape[1:])
    for before, after in pairwise((in_shape[0], *channels)):
        layers += [pool(2), convolution(before, after, kernel), nn.ReLU()]
        size = [extent // 2 - kernel + 1 for extent in size]
        if min(size) < 1:
            raise ValueError(f"in_shape: wanted larger images for {len(channels)} convolutions, got {tuple(in_shape)}")
    count = channels[-1]
    for extent in size:
        count *= extent
    return nn.Sequential(*layers, nn.Flatten()), count
