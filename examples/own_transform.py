"""A transform of one's own: digits that were squeezed, for which the library has no name, are made right again.

python examples/own_transform.py
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unwarp import LinearMap, Map, SpatialTransformer, Transform, warp
from unwarp.data import load_digits
from unwarp.nn import convolutional, parameter_groups


class Squeeze(Transform):
    """Theta `[N, 2]`: a stretch by exp(t) in x and exp(-t) in y, which keeps areas, after a turn; identity 0, 0."""

    def __init__(self) -> None:
        # The kind of each number, by which `Bounded` keeps it in a range; all but a "scale" are 0 at the identity.
        super().__init__(2, ("offset", "angle"))

    def _to_map(self, theta: Tensor) -> Map:
        stretch, angle = theta.unbind(-1)
        x, y, cos, sin = stretch.exp(), (-stretch).exp(), angle.cos(), angle.sin()
        zero = torch.zeros_like(stretch)
        rows = [torch.stack([x * cos, -x * sin, zero], -1), torch.stack([y * sin, y * cos, zero], -1)]
        return LinearMap(torch.stack(rows, -2))


def main(epochs: int = 30) -> float:
    """Train, and return the share of test pictures that are classified rightly."""
    torch.manual_seed(0)
    splits = load_digits()
    transform = Squeeze()

    def squeezed(images: Tensor) -> Tensor:
        reach = torch.tensor([0.5, 0.3])
        return warp(images.float() / 255, transform((2 * torch.rand(len(images), 2) - 1) * reach))

    straighten = SpatialTransformer(convolutional((1, 20, 20), transform), transform, leash=1.0)
    network = nn.Sequential(straighten, nn.Flatten(), nn.Linear(400, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(parameter_groups(network, lr=2e-3, localization_factor=0.3))
    for _ in range(epochs):
        for rows in torch.randperm(len(splits.train)).split(64):
            loss = F.cross_entropy(network(squeezed(splits.train.images[rows])), splits.train.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    with torch.no_grad():
        accuracy = (network(squeezed(splits.test.images)).argmax(1) == splits.test.labels).float().mean().item()
    print(f"right: {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
