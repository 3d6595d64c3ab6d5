"""Pictures into batches: shuffled, distorted where they are used, and the same again for the same seed."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from unwarp.data.addition import draw_addends, sum_classes
from unwarp.data.distort import Distortion, random_bends
from unwarp.data.extrude import Extrusion
from unwarp.data.pictures import Pictures, Splits
from unwarp.maps import Map
from unwarp.transforms import Affine
from unwarp.warping import warp

_EVALUATION_BATCH = 500
# Fewer distorted pictures than this are distorted several times: the chance in a distortion should not decide.
_FEWEST_DISTORTED = 1000
# The distortions of the validation and test pictures are the same for every seed of a run, so that runs with different
# seeds are measured on the same pictures.
_VALIDATION_SEED, _TEST_SEED, _ONCE_SEED = 1_000_000, 2_000_000, 3_000_000


class Batch(NamedTuple):
    """Images `[N, C, *size]` float32 in 0..1, labels `[N]` or `[N, T]`, and the map that distorted them, or None.

    Of pictures that are added up, the map has batch `(N, A)`: one for each of the A addends.
    """

    images: Tensor
    labels: Tensor
    pull: Map | None


class _Key(NamedTuple):
    """Which pictures make a batch, and the seed of what happens to them."""

    rows: Tensor
    seed: int


class _Rows(Dataset):
    """Batches by key: clean uint8 images, or float32 ones that are distorted already."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __getitem__(self, key: _Key) -> tuple[Tensor, Tensor, int]:
        return self.images[key.rows], self.labels[key.rows], key.seed


class _Shuffled(Sampler[_Key]):
    """Keys of an epoch's batches in random order, one process's share of each."""

    def __init__(self, count: int, batch_size: int, seed: int, world: int, rank: int, skip: int) -> None:
        self.count, self.batch_size, self.seed = count, min(batch_size, count), seed
        self.world, self.rank, self.skip = world, rank, skip
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[_Key]:
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(_mix(self.seed, self.epoch)))
        first, self.skip = self.skip, 0
        for step in range(first, len(self)):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield _Key(rows[self.rank :: self.world], _mix(self.seed, self.epoch, step, self.rank))


class PictureBatches(L.LightningDataModule):
    """Batches of the three parts of a data set.

    Args:
        splits: clean pictures.
        distortion: what to do to every picture, perhaps make a volume of it; None leaves them as they are.
        augment: training pictures are distorted anew each time or, without a distortion, moved a little; otherwise
            each is distorted once and for all.
        batch_size: of the training batches, over all devices together.
        seed: of the order and of the training distortions.
        addends: how many pictures make one, each distorted by itself in channels of its own; its label is their sum.
        bend: augmented pictures are first bent, by a thin-plate spline over 4×4 points that move by a normal of so many
            pixels.

    Raises:
        ValueError: for classes that cannot be added up.
    """

    def __init__(
        self,
        splits: Splits,
        *,
        distortion: Distortion | Extrusion | None,
        augment: bool,
        batch_size: int,
        seed: int,
        addends: int = 1,
        bend: float = 0.0,
    ) -> None:
        super().__init__()
        self.splits, self.distortion, self.augment = splits, distortion, augment
        self.batch_size, self.seed, self.addends, self.bend = batch_size, seed, addends, bend
        self.classes = splits.train.classes if addends == 1 else sum_classes(splits.train.classes, addends)
        self._next_batch = 0

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(C, H, W)` of the images in a batch, `(C, D, H, W)` of volumes."""
        channels, *size = self.splits.train.images.shape[1:]
        return channels * self.addends, *(size if self.distortion is None else self.distortion.size)

    def train_dataloader(self) -> DataLoader:
        """Batches in a new order each epoch; each process of a distributed run gets its own share of every batch."""
        world, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        images, labels = self.splits.train.images, self.splits.train.labels
        if self.distortion is not None and not self.augment:
            chunks = zip(images.split(_EVALUATION_BATCH), labels.split(_EVALUATION_BATCH), strict=True)
            once = [self.distort(*chunk, _mix(_ONCE_SEED, self.seed, place)) for place, chunk in enumerate(chunks)]
            images, labels = torch.cat([batch.images for batch in once]), torch.cat([batch.labels for batch in once])
        order = _Shuffled(len(images), self.batch_size, self.seed, world, rank, self._next_batch)
        return DataLoader(_Rows(images, labels), sampler=order, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """The validation pictures in their order, always distorted the same way; few of them several times."""
        return self._in_order(self.splits.validation, _VALIDATION_SEED)

    def test_dataloader(self) -> DataLoader:
        """The test pictures in their order, always distorted the same way; few of them several times."""
        return self._in_order(self.splits.test, _TEST_SEED)

    def _in_order(self, pictures: Pictures, seed: int) -> DataLoader:
        count = len(pictures)
        passes = 1 if self.distortion is None else math.ceil(_FEWEST_DISTORTED / count)
        rows = [
            torch.arange(start, min(start + _EVALUATION_BATCH, count)) for start in range(0, count, _EVALUATION_BATCH)
        ]
        keys = [_Key(batch, seed + again * count + int(batch[0])) for again in range(passes) for batch in rows]
        return DataLoader(_Rows(pictures.images, pictures.labels), sampler=keys, batch_size=None)

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor, int], dataloader_idx: int = 0) -> Batch:
        """Distort a batch on the device that uses it; Lightning calls this."""
        images, labels, seed = batch
        if images.is_floating_point():
            return Batch(images, labels, None)
        return self.distort(images, labels, seed, training=self.trainer is not None and self.trainer.training)

    def distort(self, images: Tensor, labels: Tensor, seed: int, *, training: bool = False) -> Batch:
        """The batch that `seed` makes of clean uint8 `images`; the same on every device, unless for training."""
        if not (training or images.is_cpu):
            # Each kind of device has random numbers of its own.
            on_cpu = self.distort(images.cpu(), labels.cpu(), seed)
            pull = None if on_cpu.pull is None else on_cpu.pull.each(lambda tensor: tensor.to(images.device))
            return Batch(on_cpu.images.to(images.device), on_cpu.labels.to(images.device), pull)
        generator = torch.Generator(device=images.device).manual_seed(seed)
        if self.addends == 1:
            images, pull = self._distorted(images, generator, training)
            return Batch(images, labels, pull)
        images, labels = draw_addends(images, labels, self.addends, generator)
        pairs = images.shape[:2]
        images, pull = self._distorted(images.flatten(0, 1), generator, training)
        together = images.unflatten(0, pairs).flatten(1, 2)
        return Batch(together, labels, None if pull is None else pull.each(lambda rows: rows.unflatten(0, pairs)))

    def _distorted(self, images: Tensor, generator: torch.Generator, training: bool) -> tuple[Tensor, Map | None]:
        clean = images.float() / 255
        if training and self.augment and self.bend:
            # Read once more below: linear interpolation would blur what is never blurred in the test.
            bends = random_bends(len(clean), clean.shape[2:], self.bend, generator)
            clean = warp(clean, bends, mode="cubic", padding="border").clamp(0, 1)
        if self.distortion is not None:
            return self.distortion(clean, generator)
        if training and self.augment:
            return warp(clean, _small_move(len(clean), generator), padding="border"), None
        return clean, None

    def state_dict(self) -> dict[str, Any]:
        """Where in its epoch a checkpoint was written."""
        assert self.trainer is not None
        completed = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        count = len(self.splits.train)
        return {"next_batch": completed % (count // min(self.batch_size, count))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the epoch where a checkpoint was written."""
        self._next_batch = state_dict["next_batch"]


def _small_move(count: int, generator: torch.Generator) -> Map:
    """Turns of up to 10°, scales of 0.9 to 1.1 and shifts of up to a tenth of the picture."""
    reach = torch.tensor([math.log(1.1), math.log(1.1), math.radians(10), 0.0, 0.1, 0.1], device=generator.device)
    components = (2 * torch.rand(count, 6, generator=generator, device=generator.device) - 1) * reach
    components = torch.cat([components[:, :2].exp(), components[:, 2:]], dim=1)
    affine = Affine()
    return affine(affine.from_components(components))


def _mix(*numbers: int) -> int:
    """One 63-bit seed of several numbers (splitmix64)."""
    state = 0
    for number in numbers:
        state = (state ^ number) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
