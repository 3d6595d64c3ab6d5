import pytest
import torch

from unwarp.data import Distortion, Pictures, Splits
from unwarp.data.batches import PictureBatches
from unwarp.data.distort import random_bends
from unwarp.warping import warp


def make(
    name: str | None = "rts",
    *,
    augment: bool = True,
    seed: int = 0,
    batch_size: int = 16,
    addends: int = 1,
    bend: float = 0.0,
) -> PictureBatches:
    generator = torch.Generator().manual_seed(5)

    def part(count: int) -> Pictures:
        images = torch.randint(0, 256, (count, 1, 12, 12), generator=generator, dtype=torch.uint8)
        return Pictures(images, torch.arange(count) % 3, ("0", "1", "2"), tuple(map(str, range(count))))

    distortion = None if name is None else Distortion(name, (12, 12))
    splits = Splits(part(50), part(9), part(10))
    return PictureBatches(
        splits, distortion=distortion, augment=augment, batch_size=batch_size, seed=seed, addends=addends, bend=bend
    )


def epoch(batches: PictureBatches, number: int = 0) -> list[tuple]:
    loader = batches.train_dataloader()
    loader.sampler.set_epoch(number)  # pyright: ignore[reportAttributeAccessIssue]
    return list(loader)


def test_an_epoch_shows_every_picture_at_most_once_in_whole_batches() -> None:
    images = torch.cat([images for images, _, _ in epoch(make())])
    assert len(images) == 48
    assert len({bytes(image.numpy()) for image in images}) == 48


def test_order_and_distortions_change_with_epoch_and_seed_and_with_nothing_else() -> None:
    batches = make()
    same, again = epoch(batches), epoch(make())
    for (a, _, s), (b, _, t) in zip(same, again, strict=True):
        assert torch.equal(a, b)
        assert s == t
    for other in (epoch(batches, 1), epoch(make(seed=1))):
        assert not torch.equal(other[0][0], same[0][0])
        assert other[0][2] != same[0][2]
    assert len({seed for _, _, seed in same}) == len(same)


def test_the_test_pictures_are_the_same_for_every_seed() -> None:
    first, second = make(seed=0), make(seed=1)
    for loader in ("test_dataloader", "val_dataloader"):
        a, b = ([m.distort(*key) for key in getattr(m, loader)()] for m in (first, second))
        assert torch.equal(torch.cat([batch.images for batch in a]), torch.cat([batch.images for batch in b]))
        assert torch.equal(torch.cat([batch.labels for batch in a]), torch.cat([batch.labels for batch in b]))


def test_few_pictures_are_distorted_several_times_and_never_the_same() -> None:
    batches = make()
    images = torch.cat([batches.distort(*key).images for key in batches.test_dataloader()])
    assert len(images) == 1000
    assert len({bytes(image.numpy()) for image in images}) == 1000
    assert sum(len(images) for images, _, _ in make(None).test_dataloader()) == 10


def test_without_augmentation_every_picture_is_distorted_once() -> None:
    batches = make(augment=False)
    (first, *_), (second, *_) = epoch(batches, 0), epoch(batches, 0)
    assert first[0].is_floating_point()
    assert torch.equal(first[0], second[0])
    everything = [torch.cat([images for images, _, _ in epoch(batches, number)]) for number in (0, 1)]
    keys = [{bytes(image.numpy()) for image in images} for images in everything]
    assert len(keys[0] & keys[1]) >= 46  # two of fifty are left out of each epoch


def test_pictures_without_a_distortion_are_moved_a_little_in_training_only() -> None:
    batches = make(None)
    images, labels, seed = epoch(batches)[0]
    still, moved = batches.distort(images, labels, seed), batches.distort(images, labels, seed, training=True)
    assert torch.equal(still.images, images.float() / 255)
    assert not torch.equal(moved.images, still.images)
    assert batches.image_shape == (1, 12, 12)
    assert make("rts").image_shape == (1, 18, 18)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_each_batch(world: int) -> None:
    class Trainer:
        def __init__(self, rank: int) -> None:
            self.world_size, self.global_rank = world, rank

    whole = epoch(make())
    shares = []
    for rank in range(world):
        batches = make()
        batches.trainer = Trainer(rank)  # pyright: ignore[reportAttributeAccessIssue]
        shares.append(epoch(batches))
    for step, (images, _, _) in enumerate(whole):
        together = torch.cat([share[step][0] for share in shares])
        assert {bytes(i.numpy()) for i in together} == {bytes(i.numpy()) for i in images}


@pytest.mark.parametrize("name", ["rts", "e", None])
def test_addends_are_distorted_each_by_itself_in_their_own_channels(name: str | None) -> None:
    batches = make(name, addends=2)
    images, labels, seed = epoch(batches)[0]
    batch = batches.distort(images, labels, seed)
    assert batches.image_shape == (2, *batch.images.shape[2:])
    assert batches.classes == ("0", "1", "2", "3", "4")
    again = batches.distort(images, labels, seed)
    assert torch.equal(batch.images, again.images)
    assert torch.equal(batch.labels, again.labels)
    if name is None:
        assert torch.equal(batch.images[:, :1], images.float() / 255)
        return
    assert batch.pull is not None
    assert batch.pull.batch == (16, 2)
    own = warp(images.float() / 255, batch.pull[:, :1], batch.images.shape[2:])
    assert torch.equal(own[:, 0], batch.images[:, :1])
    assert not torch.equal(batch.pull[:, :1].grid((2, 2)), batch.pull[:, 1:].grid((2, 2)))


def test_addends_without_augmentation_keep_their_sums() -> None:
    batches = make(augment=False, addends=2)
    (images, labels, seed), *_ = epoch(batches, 0)
    assert images.shape[1] == 2
    assert labels.max() > 2
    assert batches.on_after_batch_transfer((images, labels, seed)).labels is labels


def test_bending_changes_training_pictures_only_and_by_about_what_it_says() -> None:
    straight, bent = make("r"), make("r", bend=0.5)
    images, labels, seed = epoch(bent)[0]
    assert torch.equal(bent.distort(images, labels, seed).images, straight.distort(images, labels, seed).images)
    first, second = (bent.distort(images, labels, s, training=True).images for s in (seed, seed + 1))
    assert not torch.equal(first, second)
    assert first.min() >= 0
    assert first.max() <= 1
    # A ramp of a grey level per pixel, bent, tells how far its pixels moved.
    ramp = torch.arange(12).expand(500, 1, 12, 12).to(torch.uint8)
    bends = random_bends(500, (12, 12), 0.5, torch.Generator().manual_seed(seed))
    moved = 255 * warp(ramp / 255, bends, mode="cubic", padding="border") - ramp
    assert 0.35 < moved[..., 4:-4].std() < 0.5
    assert moved[..., 4:-4].mean().abs() < 0.05
    as_they_are = make("r", bend=0.5, augment=False).distort(images, labels, seed, training=True).images
    assert torch.equal(as_they_are, straight.distort(images, labels, seed).images)


def test_training_pictures_that_are_distorted_once_are_so_by_the_seed() -> None:
    first, again, other = (
        torch.cat([images for images, _, _ in epoch(make(augment=False, seed=s))]) for s in (0, 0, 1)
    )
    brightness = [sorted(images.sum((1, 2, 3)).tolist()) for images in (first, again, other)]
    assert brightness[0] == brightness[1]
    assert brightness[0] != brightness[2]
