"""Two spatial transformers side by side: two turned digits are added up, and each transformer finds one of them.

python examples/parallel_transformers.py
"""

import torch
import torch.nn.functional as F
from torch import nn

from unwarp import Affine, SpatialTransformer
from unwarp.data import Distortion, draw_addends, load_digits
from unwarp.nn import ParallelLocalization, convolutional, diagnose, parameter_groups


def main(epochs: int = 60) -> float:
    """Train, and return the share of test pictures whose sum is right."""
    torch.manual_seed(0)
    splits = load_digits()
    size = tuple(splits.train.images.shape[2:])
    distortion = Distortion("r", size)
    generator = torch.Generator().manual_seed(0)

    def draw(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures `[N, 2, H, W]` of two digits, each turned by itself in its own channel, and their sums."""
        pairs, sums = draw_addends(images, labels, 2, generator)
        turned = distortion(pairs.flatten(0, 1).float() / 255, generator).images
        return turned.unflatten(0, pairs.shape[:2]).flatten(1, 2), sums

    transform = Affine()
    localization = ParallelLocalization([convolutional((2, *size), transform, normalize=True) for _ in range(2)])
    straighten = SpatialTransformer(localization, transform, leash=1.0)  # [N, 2, H, W] -> [N, 2 maps, 2, H, W]
    add = nn.Sequential(
        nn.Flatten(1, 2),  # the outputs side by side, as four channels
        nn.Conv2d(4, 64, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 8 * 8, 19),
    )
    network = nn.Sequential(straighten, add)
    optimizer = torch.optim.Adam(parameter_groups(network, lr=2e-3, localization_factor=0.3))

    for _ in range(epochs):
        for rows in torch.randperm(len(splits.train)).split(64):
            images, sums = draw(splits.train.images[rows], splits.train.labels[rows])
            loss = F.cross_entropy(network(images), sums)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    network.eval()
    images, sums = draw(splits.test.images, splits.test.labels)
    with torch.no_grad():
        accuracy = (network(images).argmax(1) == sums).float().mean().item()
        turns = diagnose(straighten.align(images).pull, size).rotation.std(0).rad2deg().tolist()
    print(f"right: {accuracy:.1%}; rotations spread over {turns[0]:.0f} and {turns[1]:.0f} degrees")
    return accuracy


if __name__ == "__main__":
    main()
