import torch

from unwarp.data.digits import load_digits


def test_sizes_range_and_classes():
    splits = load_digits()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1197, 200, 400]
    assert splits.train.images.shape[1:] == (1, 20, 20)
    assert splits.train.images.min() == 0
    assert splits.train.images.max() == 255
    assert splits.train.classes == tuple("0123456789")
    for part in (splits.train, splits.validation, splits.test):
        shares = part.labels.bincount() / len(part)
        assert (shares - 0.1).abs().max() < 0.02


def test_every_picture_is_in_one_part():
    splits = load_digits()
    names = splits.train.names + splits.validation.names + splits.test.names
    assert sorted(names) == sorted(f"digits/{row}" for row in range(1797))


def test_the_split_is_that_of_the_seed():
    one, same, other = load_digits(), load_digits(), load_digits(seed=1)
    assert torch.equal(one.train.images, same.train.images)
    assert one.test.names != other.test.names
