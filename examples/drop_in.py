"""A spatial transformer in a small network: turned digits, learned from class labels alone, in about a minute.

python examples/drop_in.py
"""

import torch
import torch.nn.functional as F
from torch import nn

from unwarp import Affine, SpatialTransformer
from unwarp.data import Distortion, load_digits
from unwarp.nn import convolutional, diagnose, parameter_groups


def main(epochs: int = 30) -> float:
    """Train, and return the share of test pictures that are classified rightly."""
    torch.manual_seed(0)
    splits = load_digits()
    distortion = Distortion("r", splits.train.images.shape[2:])
    generator = torch.Generator().manual_seed(0)

    transform = Affine()
    straighten = SpatialTransformer(convolutional((1, 20, 20), transform), transform, leash=1.0)
    classify = nn.Sequential(nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 8 * 8, 10))
    network = nn.Sequential(straighten, classify)
    optimizer = torch.optim.Adam(parameter_groups(network, lr=2e-3, localization_factor=0.3))

    images, labels = splits.train.images.float() / 255, splits.train.labels
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            turned = distortion(images[rows], generator).images
            loss = F.cross_entropy(network(turned), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    turned = distortion(splits.test.images.float() / 255, generator).images
    with torch.no_grad():
        accuracy = (network(turned).argmax(1) == splits.test.labels).float().mean().item()
        turn = diagnose(straighten.align(turned).pull, (20, 20)).rotation.std().rad2deg().item()
    print(f"right: {accuracy:.1%}; the transformer's rotations spread over {turn:.0f} degrees")
    return accuracy


if __name__ == "__main__":
    main()
