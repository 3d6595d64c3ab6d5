from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unwarp.data.pictures import Pictures, Splits, complete_splits, few_of_each, split_off


def pictures_of(labels: list[int], classes: int | None = None, channels: int = 1) -> Pictures:
    """Pictures that are filled with their row number."""
    rows = torch.arange(len(labels), dtype=torch.uint8)
    return Pictures(
        rows.view(-1, 1, 1, 1).repeat(1, channels, 2, 3),
        torch.tensor(labels),
        tuple(f"c{label}" for label in range(classes or max(labels) + 1)),
        tuple(f"row/{row}" for row in range(len(labels))),
    )


def rows(pictures: Pictures) -> list[int]:
    return pictures.images[:, 0, 0, 0].tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=120), st.floats(0.02, 0.98), st.integers(0, 2**31))
def test_split_off_keeps_every_picture_once_and_every_class_on_both_sides(labels, fraction, seed):
    pictures = pictures_of(labels, classes=5)
    counts = torch.bincount(pictures.labels, minlength=5)
    if (counts < 2).all():
        return
    rest, part = split_off(pictures, fraction, seed)
    assert sorted(rows(rest) + rows(part)) == list(range(len(labels)))
    assert rows(rest) == sorted(rows(rest))
    assert rows(part) == sorted(rows(part))
    for label, count in enumerate(counts.tolist()):
        taken = int((part.labels == label).sum())
        assert abs(taken - fraction * count) < 1.0 + 1e-9 or taken in (1, count - 1)
        assert 1 <= taken < count if count >= 2 else taken == 0
    for side in (rest, part):
        assert side.names == tuple(f"row/{row}" for row in rows(side))
        assert side.labels.tolist() == [labels[row] for row in rows(side)]
    again = split_off(pictures, fraction, seed)
    assert rows(again[1]) == rows(part)


def test_split_off_takes_exactly_the_fraction_and_depends_on_the_seed():
    pictures = pictures_of([0] * 37 + [1] * 41 + [2] * 22)
    parts = [rows(split_off(pictures, 0.25, seed)[1]) for seed in range(3)]
    assert [len(part) for part in parts] == [25, 25, 25]
    assert parts[0] != parts[1]


def test_split_off_leaves_the_global_random_state_alone():
    state = torch.random.get_rng_state()
    split_off(pictures_of([0, 0, 1, 1]), 0.5, 0)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_split_off_refuses_a_fraction_outside(fraction):
    with pytest.raises(ValueError, match="fraction: wanted"):
        split_off(pictures_of([0, 0, 1, 1]), fraction, 0)


def test_split_off_refuses_classes_of_one():
    with pytest.raises(ValueError, match="a class with two or more"):
        split_off(pictures_of([0, 1, 2]), 0.5, 0)


def test_complete_splits_takes_both_fractions_of_the_pictures_given():
    splits = complete_splits(pictures_of([0, 1] * 50), None, None, validation_fraction=0.1, test_fraction=0.2, seed=0)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [70, 10, 20]
    together = rows(splits.train) + rows(splits.validation) + rows(splits.test)
    assert sorted(together) == list(range(100))


def test_complete_splits_keeps_the_parts_given():
    train, test = pictures_of([0, 1] * 10), pictures_of([1, 0, 1])
    splits = complete_splits(train, None, test, validation_fraction=0.1, test_fraction=0.2, seed=0)
    assert splits.test is test
    assert len(splits.validation) == 2
    whole = complete_splits(train, test, test, validation_fraction=9, test_fraction=9, seed=0)
    assert whole.train is train


@pytest.mark.parametrize(
    ("labels", "fractions", "message"),
    [
        ([0, 0, 0], (0.1, 0.2), "classes: wanted two or more"),
        ([0, 0, 0, 1, 1], (0.1, 0.2), "class 'c1': wanted 3 or more training pictures"),
        ([0, 1] * 10, (0.5, 0.5), "leave training pictures"),
        ([0, 1] * 10, (0, 0.5), "validation: wanted a fraction"),
        ([0, 1] * 10, (0.1, 1.5), "test: wanted a fraction"),
    ],
)
def test_complete_splits_refuses_what_cannot_be_split(labels, fractions, message):
    with pytest.raises(ValueError, match=message):
        complete_splits(
            pictures_of(labels), None, None, validation_fraction=fractions[0], test_fraction=fractions[1], seed=0
        )


def test_smallest_classes_are_in_every_part():
    splits = complete_splits(
        pictures_of([0] * 50 + [1] * 3), None, None, validation_fraction=0.1, test_fraction=0.2, seed=1
    )
    assert all(1 in part.labels for part in (splits.train, splits.validation, splits.test))


def test_subset_keeps_the_order_asked_for():
    part = pictures_of([0, 1, 2]).subset([2, 0, 2])
    assert rows(part) == [2, 0, 2]
    assert part.labels.tolist() == [2, 0, 2]
    assert part.names == ("row/2", "row/0", "row/2")
    assert len(part) == 3


@pytest.mark.parametrize("indices", [[], [3], [-1], [0.5], [[0]], [True, False, True]])
def test_subset_refuses_what_are_no_rows(indices):
    with pytest.raises(ValueError, match="indices: wanted"):
        pictures_of([0, 1, 2]).subset(indices)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 1, 4, 4)}, "images: wanted uint8"),
        ({"images": torch.zeros(2, 4, 4, dtype=torch.uint8)}, "images: wanted uint8"),
        ({"images": torch.zeros(0, 1, 4, 4, dtype=torch.uint8)}, "images: wanted uint8"),
        ({"labels": torch.tensor([0.0, 1.0])}, "labels: wanted int64"),
        ({"labels": torch.tensor([0, 1, 1])}, "labels: wanted int64"),
        ({"labels": torch.zeros(2, 3, 1, dtype=torch.int64)}, "labels: wanted int64"),
        ({"labels": torch.zeros(2, 0, dtype=torch.int64)}, "labels: wanted int64"),
        ({"labels": torch.tensor([[0, 1], [0, 2]])}, "labels: wanted 0 to 1"),
        ({"labels": torch.tensor([0, 2])}, "labels: wanted 0 to 1"),
        ({"labels": torch.tensor([-1, 1])}, "labels: wanted 0 to 1"),
        ({"classes": ("a", "a")}, "classes: wanted each name once"),
        ({"names": ("x",)}, "names: wanted 2"),
    ],
)
def test_pictures_refuse_what_does_not_fit(change, message):
    good = {
        "images": torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
        "labels": torch.tensor([0, 1]),
        "classes": ("a", "b"),
        "names": ("x", "y"),
    }
    Pictures(**good)
    with pytest.raises(ValueError, match=message):
        Pictures(**(good | change))


def test_splits_refuse_other_classes_and_shapes():
    train = pictures_of([0, 1])
    with pytest.raises(ValueError, match="test: wanted the classes of train"):
        Splits(train, train, pictures_of([0, 1, 2]))
    with pytest.raises(ValueError, match="validation: wanted images"):
        Splits(train, pictures_of([0, 1], channels=3), train)


def test_sequences_of_labels_stay_with_their_pictures():
    sequences = replace(pictures_of([0, 1, 2]), labels=torch.tensor([[0, 1], [2, 0], [1, 1]]))
    assert sequences.subset([2, 0]).labels.tolist() == [[1, 1], [0, 1]]
    assert Splits(sequences, sequences, sequences).steps == 2
    single = pictures_of([0, 1, 2])
    assert Splits(single, single, single).steps is None
    with pytest.raises(ValueError, match=r"test: wanted labels \[2\] like those of train, got \[\]"):
        Splits(sequences, sequences, single)
    with pytest.raises(ValueError, match=r"labels: wanted \[N\] to split them"):
        split_off(sequences, 0.5, 0)


def test_resized_keeps_constants_and_its_own_size():
    pictures = pictures_of([0, 1, 2])
    assert pictures.resized((2, 3)) is pictures
    assert (pictures.resized((7, 5)).images == pictures.images[:, :, :1, :1]).all()
    with pytest.raises(ValueError, match="size: wanted"):
        pictures.resized((0, 5))


def test_resized_stays_in_range_at_sharp_edges():
    edge = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    edge[..., 4:] = 255
    large = Pictures(edge, torch.tensor([0]), ("a",), ("x",)).resized((40, 40)).images
    assert (large[..., :10] < 20).all()
    assert (large[..., 30:] > 235).all()


def test_grey_becomes_colour_and_returns():
    grey = pictures_of(list(range(200)))
    colour = grey.with_channels(3)
    assert colour.images.shape[1] == 3
    assert torch.equal(colour.with_channels(1).images, grey.images)
    with pytest.raises(ValueError, match="channels: wanted 1"):
        grey.with_channels(2)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        pictures_of([0, 1], channels=2).with_channels(3)


@pytest.mark.parametrize("count", [1, 3, 10, 20, 23])
def test_few_of_each_are_as_many_of_each_as_there_can_be(count: int) -> None:
    few = few_of_each(pictures_of([0] * 10 + [1] * 10 + [2] * 3), count, seed=4)
    assert len(few) == count
    assert len(set(few.names)) == count
    numbers = torch.bincount(few.labels, minlength=3).tolist()
    room = [10, 10, 3]
    for label, number in enumerate(numbers):
        assert number == room[label] or number >= max(numbers) - 1


def test_few_of_each_depend_on_the_seed_alone() -> None:
    first, again, other = (few_of_each(pictures_of([0, 1] * 50), 10, seed).names for seed in (1, 1, 2))
    assert first == again != other
    with pytest.raises(ValueError, match="^labels: wanted 1 to 23"):
        few_of_each(pictures_of([0] * 10 + [1] * 10 + [2] * 3), 24, 0)
