"""Reading with a recurrent spatial transformer: one to three digits, one crop after the other, until the end symbol.

python examples/recurrent_reading.py
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unwarp import Attention, SpatialTransformer
from unwarp.data import Pictures, draw_sequences, load_digits
from unwarp.nn import AFTER_END, PerMap, parameter_groups, read_until_end, recurrent, with_end

STEPS, SIZE = 4, (40, 64)  # the last step has room for the end symbol


def draw(digits: Pictures, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures of one to three digits in a row, as many of each, and the targets of their four steps."""
    images, targets = [], []
    for length in (1, 2, 3):
        drawn = draw_sequences(
            digits, count, bank=digits.images, generator=generator, steps=length, size=SIZE, patches=2, patch_size=5
        )
        labels = F.pad(drawn.labels, (0, STEPS - length))
        images.append(drawn.images.float() / 255)
        targets.append(with_end(labels, torch.full((count,), length), num_classes=10))
    return torch.cat(images), torch.cat(targets)


class Reader(nn.Module):
    """One look at the picture, four crops in a row, one classifier for all of them."""

    def __init__(self) -> None:
        super().__init__()
        transform = Attention()
        localization = recurrent((1, *SIZE), transform, steps=STEPS, channels=(20, 20), hidden=128)
        self.look = SpatialTransformer(localization, transform, size=(20, 20), leash=1.0, window=0.5)
        layers = [nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 8 * 8, 64), nn.ReLU()]
        self.classify = PerMap([nn.Sequential(*layers, nn.Linear(64, 11))])

    def forward(self, image: Tensor) -> Tensor:
        """Logits `[N, 4, 11]`."""
        return self.classify(self.look(image))


def main(count: int = 8000, epochs: int = 12) -> float:
    """Train on three times `count` pictures, and return the share of others that are read without any error."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    splits = load_digits()
    network = Reader()
    images, targets = draw(splits.train, count, generator)
    steps = epochs * -(-len(images) // 64)
    optimizer = torch.optim.Adam(parameter_groups(network, lr=2e-3))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            loss = F.cross_entropy(network(images[rows]).flatten(0, 1), targets[rows].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    images, targets = draw(splits.test, min(count, 500), generator)
    with torch.no_grad():
        read = read_until_end(network(images))
    right = (read.labels == targets.masked_fill(targets == 10, AFTER_END)).all(1)
    print(f"read without an error: {right.float().mean():.1%}; lengths right: ", end="")
    print(f"{(read.lengths == torch.tensor([1, 2, 3]).repeat_interleave(len(images) // 3)).float().mean():.1%}")
    return right.float().mean().item()


if __name__ == "__main__":
    main()
