"""The networks that read sequences of digits (Sønderby et al. 2015, arXiv 1509.05329), as the published code has them.

Of the plain network only the error is published. Ours is the classifier of FFN-SPN on the whole picture, with a pooling
more at its end and fewer channels at its beginning, where most of the work is: about 3.9M parameters at 100×100, where
FFN-SPN with crops of 50×50 has 3.6M and RNN-SPN, with crops of 33×33, 1.7M.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from unwarp.nn import Localization, pooled_convolutions, recurrent
from unwarp.transforms import Transform

_RECURRENT, _FEED_FORWARD, _PLAIN = (32, 32, 32), (96, 96, 96), (32, 64, 96)
_HIDDEN, _LOCALIZATION_HIDDEN = 400, 200


def recurrent_localization(in_shape: Sequence[int], transform: Transform, steps: int) -> Localization:
    """The localization network of RNN-SPN: theta `[N, steps, P]`."""
    localization = recurrent(in_shape, transform, steps=steps)
    _start_as_published(localization.features)
    return localization


def feed_forward_localization(in_shape: Sequence[int], transform: Transform) -> Localization:
    """The localization network of FFN-SPN: the encoder of RNN-SPN, and a layer of 200 units in place of the GRU."""
    encoder, count = pooled_convolutions(in_shape)
    features = nn.Sequential(encoder, nn.Linear(count, _LOCALIZATION_HIDDEN), nn.ReLU())
    _start_as_published(features)
    return Localization(features, _LOCALIZATION_HIDDEN, transform)


def crop_reader(in_shape: Sequence[int], num_classes: int, *, dropout: float = 0.0) -> nn.Module:
    """The classifier of RNN-SPN, of one crop `in_shape`; it serves all of them."""
    return _classifier(in_shape, num_classes, _RECURRENT, dropout=dropout)


def feed_forward_reader(in_shape: Sequence[int], num_outputs: int, *, dropout: float = 0.0) -> nn.Module:
    """The classifier of FFN-SPN, of one crop `in_shape` with all digits; outputs are classes times digits."""
    return _classifier(in_shape, num_outputs, _FEED_FORWARD, dropout=dropout)


def sequence_cnn(in_shape: Sequence[int], num_outputs: int, *, dropout: float = 0.0) -> nn.Module:
    """The plain network, for images `in_shape`; outputs are classes times digits."""
    return _classifier(in_shape, num_outputs, _PLAIN, pooled=True, dropout=dropout)


def _classifier(
    in_shape: Sequence[int], num_outputs: int, widths: Sequence[int], *, dropout: float, pooled: bool = False
) -> nn.Module:
    """Unpadded convolutions of 3×3, with 2× max-pooling between them (`pooled`: at the end too), and a hidden layer."""
    layers: list[nn.Module] = []
    size = list(in_shape[1:])
    for number, (before, after) in enumerate(pairwise((in_shape[0], *widths)), start=1):
        layers.append(nn.Conv2d(before, after, 3))
        size = [extent - 2 for extent in size]
        # The same as after the rectifier, which then has a quarter of the work.
        if pooled or number < len(widths):
            layers.append(nn.MaxPool2d(2))
            size = [extent // 2 for extent in size]
        layers.append(nn.ReLU())
    if min(size) < 1:
        raise ValueError(f"in_shape: wanted larger images for three convolutions, got {tuple(in_shape)}")
    layers += [nn.Flatten(), nn.Dropout(dropout), nn.Linear(widths[-1] * size[0] * size[1], _HIDDEN), nn.ReLU()]
    layers += [nn.Dropout(dropout), nn.Linear(_HIDDEN, num_outputs)]
    network = nn.Sequential(*layers)
    _start_as_published(network)
    return network


def _start_as_published(network: nn.Module) -> None:
    """Draw the first weights of convolutions and layers as Lasagne does: Glorot's uniform, and biases of 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
