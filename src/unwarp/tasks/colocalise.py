"""Find what pictures have in common, without labels or boxes (arXiv 1506.02025, section 4.5).

A spatial transformer learns to show, in every picture, the part that looks most like what it shows in the others and
least like a random part of the same picture. What looks alike is decided by a network trained on something else. The
paper's transformer has a scale of its own; here the size of what is looked for is given, and its place is the centroid
of a heatmap. In the end, which the paper does not do, all places are moved together to where that network is most
certain of what it sees.
"""

import json
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unwarp.checks import check_choice
from unwarp.data import Distortion, Pictures
from unwarp.losses import triplet_hinge
from unwarp.maps import Map
from unwarp.metrics import box_of, box_overlap
from unwarp.models.jaderberg import activations, cnn
from unwarp.nn import SpatialTransformer, centroid
from unwarp.tasks.files import replacing
from unwarp.tasks.machine import machine
from unwarp.tasks.options import ColocaliseOptions
from unwarp.transforms import Attention, Translation
from unwarp.warping import warp

_ENCODER_BATCH, _ENCODER_PICTURES = 128, 500
_ENCODER_LR = 4e-3
_CANVAS = (84, 84)
# Of the pictures, a third of the canvas.
SIZE = (28, 28)
_FOUND = 0.5
_RESULTS = "results.json"
# Coarse to fine: the transformer starts with all of the picture, for the digits to be brought together while all are in
# sight, and closes in on the width of a digit. From the start at that width it learns to look where nothing is.
_WINDOW = 1 / 3
_ZOOM_TIME = 0.7
# Where the loss ends above this part of the margin, nothing was found: what is shown is no more alike than anything.
_NOTHING_FOUND = 0.9
# All boxes are moved together by up to so many pixels, in steps of so many.
_FARTHEST_SHIFT, _STEP = 10, 2


class Colocalised(NamedTuple):
    """What a transformer found, as it went.

    Attributes:
        images: `[N, 1, H, W]`, the pictures.
        true: `[N, 2, 2]`, lowest and highest corner (x, y) of each digit's box, normalised.
        boxes: `[E, N, 2, 2]`, what the transformer showed before any training and after every epoch of it; after the
            last one, moved together to where the encoder is most certain.
        losses: `[E - 1]`, the mean loss of each epoch.
    """

    images: Tensor
    true: Tensor
    boxes: Tensor
    losses: Tensor

    @property
    def overlap(self) -> Tensor:
        """Intersection over union of the boxes with the true ones, `[E, N]`."""
        return box_overlap(self.boxes, self.true)

    @property
    def found(self) -> Tensor:
        """The share of the digits found, `[E]`: with an overlap over 0.5, as the paper counts."""
        return (self.overlap > _FOUND).float().mean(1)

    def save(self, file: Path) -> None:
        """Write a file .npz."""
        arrays = {name: tensor.numpy() for name, tensor in self._asdict().items()}
        np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, file: Path) -> "Colocalised":
        """Read what `save` wrote."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(*(torch.from_numpy(arrays[name]) for name in cls._fields))


class Encoder(nn.Module):
    """Features of pictures: all three layers of a network of `cnn`, each weighing the same.

    Two of the `pictures` have a squared distance of 1 in the mean, so that a margin of 1 means something.
    """

    def __init__(self, network: nn.Sequential, pictures: Tensor) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        with torch.no_grad():
            spreads = [layer.var(0).sum() for layer in activations(network, pictures)]
        self.scales = [(2 * spread * len(spreads)).rsqrt().item() for spread in spreads]

    def forward(self, images: Tensor) -> Tensor:
        """Features `[N, F]` of `images [N, C, H, W]`."""
        layers = activations(self.network, images)
        return torch.cat([scale * layer for scale, layer in zip(self.scales, layers, strict=True)], dim=1)

    def certainty(self, images: Tensor) -> Tensor:
        """How certain it is of what `images [N, C, H, W]` show: the largest logit of each, in the mean."""
        return activations(self.network, images)[-1].amax(1).mean()


def train_encoder(pictures: Pictures, options: ColocaliseOptions) -> Encoder:
    """A network that knows digits, the paper's CNN, trained on clean pictures to tell what looks alike."""
    torch.manual_seed(options.seed)
    channels, *size = pictures.images.shape[1:]
    encoder = cnn((channels, *size), len(pictures.classes), parameters=options.parameters)
    assert isinstance(encoder, nn.Sequential)
    optimizer = torch.optim.AdamW(encoder.parameters())
    batch = min(_ENCODER_BATCH, len(pictures))
    count = len(pictures) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _ENCODER_LR, total_steps=options.encoder_epochs * count)
    for _ in range(options.encoder_epochs):
        for rows in torch.randperm(len(pictures))[: count * batch].split(batch):
            logits = encoder(pictures.images[rows].float() / 255)
            loss = F.cross_entropy(logits, pictures.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return Encoder(encoder, pictures.images[:_ENCODER_PICTURES].float() / 255)


def colocalise(digit: str, pictures: Pictures, encoder: Encoder, options: ColocaliseOptions) -> Colocalised:
    """Let a transformer find the digits in pictures of one class, placed at random in 84×84, perhaps among clutter.

    Where it ends without having found anything, which its loss says, others start anew with other weights.

    Args:
        digit: the class.
        pictures: clean ones of all classes; `options.pictures` of that class are taken, in their order.
        encoder: see `train_encoder`.
        options: how to make the pictures and to train.

    Raises:
        ValueError: for a class that the pictures do not have, or too few of it, or pictures of another size than 28×28.
    """
    _check_size(pictures)
    rows = _rows_of(digit, pictures, options.pictures)
    generator = torch.Generator().manual_seed(options.seed)
    images, placed = _place(pictures, rows, options, generator)
    true = box_of(placed.inverse())
    found: list[Colocalised] = []
    for start in range(options.starts):
        torch.manual_seed(options.seed + start)
        boxes, losses = _search(images, pictures.images.shape[2:], encoder, options, generator)
        found.append(Colocalised(images, true, boxes, losses))
        if losses[-1] < _NOTHING_FOUND * options.margin:
            break
    best = min(found, key=lambda result: result.losses[-1].item())
    return best._replace(boxes=torch.cat([best.boxes[:-1], _centred(best.boxes[-1:], images, encoder)]))


@torch.no_grad()
def _centred(boxes: Tensor, images: Tensor, encoder: Encoder) -> Tensor:
    """Boxes `[1, N, 2, 2]`, all moved by the same, to where the encoder is most certain of what is in them.

    The loss cannot see an offset that is the same in all pictures: a part of the digit serves as well as the whole.
    """
    pixels = torch.tensor(images.shape[:1:-1])
    steps = range(-_FARTHEST_SHIFT, _FARTHEST_SHIFT + 1, _STEP)
    moved = [boxes + 2 * torch.tensor(shift) / pixels for shift in product(steps, repeat=2)]
    size = [round(extent * _WINDOW) for extent in images.shape[2:]]
    return max(moved, key=lambda some: encoder.certainty(warp(images, _crops(some[0]), size)).item())


def _crops(boxes: Tensor) -> Map:
    """What shows boxes `[N, 2, 2]`, all as wide as high."""
    half = (boxes[:, 1] - boxes[:, 0]).mean(1, keepdim=True) / 2
    return Attention()(torch.cat([half, boxes.mean(1)], dim=1))


def _search(
    images: Tensor, size: Sequence[int], encoder: Encoder, options: ColocaliseOptions, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Boxes and losses, as `Colocalised` has them, of one transformer to crops of that size."""
    transformer = SpatialTransformer(centroid((images.shape[1], *_CANVAS)), Translation(), size, antialias=True)
    optimizer = torch.optim.Adam(transformer.parameters(), options.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * options.steps)
    # It stays in training mode: all pictures are one batch, of which it normalises the features.
    boxes, losses = [_boxes(transformer, images)], []
    for epoch in range(options.epochs):
        total = 0.0
        for step in range(options.steps):
            done = (epoch + step / options.steps) / options.epochs
            transformer.window = _WINDOW ** min(1.0, done / _ZOOM_TIME)
            loss = _loss(transformer, encoder, images, options.margin, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        boxes.append(_boxes(transformer, images))
        losses.append(total / options.steps)
    return torch.stack(boxes), torch.tensor(losses)


def colocalise_all(
    classes: Sequence[str],
    pictures: Pictures,
    options: ColocaliseOptions,
    out: Path,
    tell: Callable[[str, Colocalised, float], None],
) -> None:
    """Colocalise one class after the other; `results.json` and a file CLASS.npz, a `Colocalised`, are kept in `out`.

    Args:
        classes: their names.
        pictures: clean ones of all classes.
        options: how.
        out: folder for the results.
        tell: called with the name of a class, what was found and the seconds it took.

    Raises:
        ValueError: as `colocalise`, or for a class whose name is no file's, before anything is trained.
    """
    _check_size(pictures)
    if pictures.labels.ndim != 1:
        raise ValueError(f"pictures: wanted one label each, got labels {list(pictures.labels.shape)}")
    for name in classes:
        _rows_of(name, pictures, options.pictures)
        if name in ("", ".", "..") or not set(name).isdisjoint("/\\\0"):
            raise ValueError(f"class: wanted a name that a file can have, got {name!r}")
    started = time.monotonic()
    encoder = train_encoder(pictures, options)
    record = {"options": vars(options), "encoder_seconds": round(time.monotonic() - started, 1)} | machine("cpu")
    out.mkdir(parents=True, exist_ok=True)
    shares = _earlier(out / _RESULTS, vars(options))
    for name in classes:
        started = time.monotonic()
        result = colocalise(name, pictures, encoder, options)
        seconds = time.monotonic() - started
        shares[name] = {"found": result.found[-1].item(), "seconds": round(seconds, 1)}
        result.save(out / f"{name}.npz")
        with replacing(out / _RESULTS) as partial:
            partial.write_text(json.dumps(record | {"classes": shares}, indent=2) + "\n", encoding="utf-8")
        tell(name, result, seconds)


def _earlier(file: Path, options: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What an earlier call with the same options has found."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return dict(record["classes"]) if record["options"] == options else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _check_size(pictures: Pictures) -> None:
    if tuple(pictures.images.shape[2:]) != SIZE:
        raise ValueError(f"pictures: wanted some of {SIZE}, got {list(pictures.images.shape)}")


def _rows_of(name: str, pictures: Pictures, count: int) -> Tensor:
    check_choice("class", name, pictures.classes)
    rows = (pictures.labels == pictures.classes.index(name)).nonzero().flatten()
    if len(rows) < count:
        raise ValueError(f"pictures: wanted {count} of class {name}, got {len(rows)}")
    return rows[:count]


def _place(
    pictures: Pictures, rows: Tensor, options: ColocaliseOptions, generator: torch.Generator
) -> tuple[Tensor, Map]:
    bank = pictures.images.float() / 255
    clutter = Distortion("tc", pictures.images.shape[2:], size=_CANVAS, bank=bank, patches=options.clutter)
    distorted = clutter(bank[rows], generator)
    return distorted.images, distorted.pull


def _loss(
    transformer: SpatialTransformer, encoder: Encoder, images: Tensor, margin: float, generator: torch.Generator
) -> Tensor:
    """Of every picture with one other, by a random cycle through all of them."""
    shown = transformer.align(images)
    elsewhere = transformer.warp(images, _random_crops(shown.pull.detach(), generator))
    features = encoder(torch.cat([shown.image, elsewhere]))
    anchor, negative = features.chunk(2)
    order = torch.randperm(len(images), generator=generator)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    # The partner stands still: two crops that show a part each would otherwise agree soonest on showing nothing.
    return triplet_hinge(anchor, anchor[partner].detach(), negative, margin)


def _random_crops(pull: Map, generator: torch.Generator) -> Map:
    """Crops of the same size as those of `pull`, about centres anywhere but near the border."""
    box = box_of(pull)
    centre = (1 - _WINDOW) * (2 * torch.rand(len(box), 1, 2, generator=generator) - 1)
    return _crops(box - box.mean(1, keepdim=True) + centre)


@torch.no_grad()
def _boxes(transformer: SpatialTransformer, images: Tensor) -> Tensor:
    return box_of(transformer.locate(images)[1])
