import pytest
import torch

from unwarp.data.addition import draw_addends, sum_classes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("addends", [1, 2, 3])
def test_the_label_is_the_sum_of_what_is_seen(addends: int) -> None:
    labels = torch.randint(10, (50,))
    images = labels.reshape(-1, 1, 1, 1).expand(50, 1, 4, 4).byte()
    together, sums = draw_addends(images, labels, addends, generator())
    assert together.shape == (50, addends, 1, 4, 4)
    assert torch.equal(together[:, 0], images)
    assert torch.equal(together[:, :, 0, 0, 0].long().sum(1), sums)
    for place in range(addends):  # everyone once, at every place
        assert torch.equal(together[:, place, 0, 0, 0].sort().values, images[:, 0, 0, 0].sort().values)


def test_the_same_seed_draws_the_same() -> None:
    images, labels = torch.rand(20, 1, 2, 2), torch.arange(20)
    first, again, other = (draw_addends(images, labels, 2, generator(seed))[1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_sums_have_a_class_each() -> None:
    assert sum_classes("0123456789", 2) == tuple(str(total) for total in range(19))
    assert sum_classes(("0", "1"), 3) == ("0", "1", "2", "3")
    for classes in (("1", "2"), ("a", "b")):
        with pytest.raises(ValueError, match="^addends: wanted classes 0, 1 to add up"):
            sum_classes(classes, 2)


@pytest.mark.parametrize("count", [2, 9])
def test_every_picture_has_one_label(count: int) -> None:
    with pytest.raises(ValueError, match="^labels: wanted one for each of 4 pictures"):
        draw_addends(torch.rand(4, 1, 2, 2), torch.zeros(count, dtype=torch.long), 2, generator())
