import os
from pathlib import Path

import pytest
import torch

from unwarp.data import Pictures, Splits, draw_sequences, load_mnist_sequences, sequences

HEIGHT, WIDTH = 6, 4


def tiles(name: str = "tiles") -> Pictures:
    """Five digits of one grey each: 40, 80, ... 200."""
    greys = 40 * torch.arange(1, 6, dtype=torch.uint8)
    images = greys.view(-1, 1, 1, 1).expand(-1, 1, HEIGHT, WIDTH).contiguous()
    return Pictures(images, torch.arange(5), tuple("abcde"), tuple(f"{name}/{row}" for row in range(5)))


def draw(count: int = 300, seed: int = 0, **words: object) -> Pictures:
    settings = {"size": (20, 17), "patches": 0, "patch_size": 2, "bank": tiles().images} | words
    return draw_sequences(tiles(), count, generator=torch.Generator().manual_seed(seed), **settings)  # pyright: ignore[reportArgumentType]


def places(pictures: Pictures, row: int) -> list[tuple[int, int]]:
    """The upper left corner of each digit of a picture without clutter."""
    image = pictures.images[row, 0]
    columns = image.any(0).nonzero().flatten()
    left = int(columns[0])
    found = []
    for step, label in enumerate(pictures.labels[row].tolist()):
        x = left + step * WIDTH
        y = int(image[:, x].nonzero().flatten()[0])
        assert (image[y : y + HEIGHT, x : x + WIDTH] == 40 * (label + 1)).all()
        found.append((x, y))
    assert int((image > 0).sum()) == len(found) * HEIGHT * WIDTH
    return found


def test_digits_stand_side_by_side_in_the_order_of_their_labels_and_inside() -> None:
    pictures = draw()
    assert pictures.images.shape == (300, 1, 20, 17)
    assert pictures.labels.shape == (300, 3)
    lefts = set()
    for row in range(300):
        first, *_, last = places(pictures, row)
        lefts.add(first[0])
        assert last[0] + WIDTH <= 17
    assert lefts == set(range(4))  # a margin of two to either side, less the last place


def test_the_first_is_at_any_height() -> None:
    rows = {places(draw(300, size=(40, 17)), row)[0][1] for row in range(300)}
    assert min(rows) == 0
    assert max(rows) == 40 - HEIGHT


def test_the_slope_is_the_same_between_neighbours_but_at_the_edge() -> None:
    pictures, slopes = draw(), set()
    for row in range(300):
        heights = [y for _, y in places(pictures, row)]
        if all(0 < y < 20 - HEIGHT for y in heights):
            assert heights[2] - heights[1] == heights[1] - heights[0]
            slopes.add(heights[1] - heights[0])
        assert all(0 <= y <= 20 - HEIGHT for y in heights)
    assert slopes == {-2, -1, 0, 1}


def test_clutter_is_added_and_cut_off_at_white() -> None:
    bank = torch.full((1, 1, 5, 5), 100, dtype=torch.uint8)
    pictures = draw(bank=bank, patches=4)
    digits = [40, 80, 120, 160, 200]
    assert set(pictures.images.unique().tolist()) == {0, 100, 255, *digits, 140, 180, 220}
    # They overwrite each other: not one is brighter than a patch where there is no digit.
    rest = draw_sequences(
        Pictures(torch.zeros(1, 1, 6, 4, dtype=torch.uint8), torch.tensor([0]), ("a",), ("x",)),
        50,
        bank=bank,
        generator=torch.Generator().manual_seed(0),
        size=(20, 17),
        patches=4,
        patch_size=3,
    ).images
    covered = (rest > 0).sum((1, 2, 3))
    assert rest.max() == 100
    assert (covered <= 4 * 9).all()
    assert covered.max() == 4 * 9


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    first, again, other = draw(patches=3), draw(patches=3), draw(seed=1, patches=3)
    assert torch.equal(first.images, again.images)
    assert first.names == again.names
    assert not torch.equal(first.images, other.images)
    assert first.names[0] == "+".join(f"tiles/{label}" for label in first.labels[0].tolist())


def test_any_length_and_size() -> None:
    pictures = draw(50, steps=5, size=(HEIGHT, 5 * WIDTH))
    for row in range(50):
        assert places(pictures, row)[0] == (0, 0)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="^size: wanted room for 3 digits"):
        draw(size=(20, 11))
    with pytest.raises(ValueError, match="^size: wanted room"):
        draw(size=(5, 17))
    with pytest.raises(ValueError, match="^patch_size: wanted"):
        draw(patches=1, patch_size=4)
    with pytest.raises(ValueError, match="^count: wanted"):
        draw(0)


def test_each_part_is_drawn_from_its_own_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "_COUNTS", (7, 4, 5))
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)

    def few(validation: int, seed: int) -> Splits:
        parts = (
            Pictures(images, torch.arange(3), tuple("abc"), tuple(f"{part}/{row}" for row in range(3)))
            for part in ("train", "validation", "test")
        )
        return Splits(*parts)

    monkeypatch.setattr(sequences, "load_mnist", few)
    splits = load_mnist_sequences()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [7, 4, 5]
    assert splits.steps == 3
    for part in ("train", "validation", "test"):
        names = getattr(splits, part).names
        assert all(name.split("/")[0] == part for row in names for name in row.split("+"))
    assert load_mnist_sequences().train.names == splits.train.names != load_mnist_sequences(seed=1).train.names


@pytest.mark.slow
def test_the_real_sequences() -> None:
    if not Path(os.environ.get("UNWARP_DATA", ""), "mnist", "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("UNWARP_DATA has no mnist")
    splits = load_mnist_sequences()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [60_000, 10_000, 10_000]
    assert splits.train.images.shape[1:] == (1, 100, 100)
    train, validation, test = (
        {name for row in part.names for name in row.split("+")}
        for part in (splits.train, splits.validation, splits.test)
    )
    assert not (train & validation | train & test | validation & test)
