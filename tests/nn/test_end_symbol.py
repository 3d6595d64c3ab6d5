import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from unwarp.nn import AFTER_END, read_until_end, with_end


def drawn(count: int, steps: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count, steps), generator=generator)
    return labels, torch.randint(0, steps + 1, (count,), generator=generator)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_a_network_that_gives_the_targets_is_read_as_what_was_meant(
    count: int, steps: int, classes: int, seed: int
) -> None:
    labels, lengths = drawn(count, steps, classes, seed)
    targets = with_end(labels, lengths, classes)
    # After the end a network may say anything.
    said = torch.where(targets == AFTER_END, labels, targets)
    read = read_until_end(F.one_hot(said, classes + 1).float())
    assert torch.equal(read.lengths, lengths)
    for row, length in enumerate(lengths.tolist()):
        assert torch.equal(read.labels[row, :length], labels[row, :length])
        assert (read.labels[row, length:] == AFTER_END).all()


def test_there_is_one_end_symbol_where_there_is_room() -> None:
    labels = torch.tensor([[1, 2, 0], [1, 2, 0], [1, 2, 0], [1, 2, 0]])
    targets = with_end(labels, torch.tensor([0, 1, 2, 3]), 3)
    after = AFTER_END
    assert targets.tolist() == [[3, after, after], [1, 3, after], [1, 2, 3], [1, 2, 0]]


def test_labels_after_the_length_may_be_anything() -> None:
    labels = torch.tensor([[1, -5, 77]])
    assert with_end(labels, torch.tensor([1]), 2).tolist() == [[1, 2, AFTER_END]]


def test_what_comes_after_the_end_has_no_gradient_and_no_weight() -> None:
    labels, lengths = drawn(6, 4, 3, seed=1)
    lengths[0] = 0
    targets = with_end(labels, lengths, 3)
    logits = torch.randn(6, 4, 4, requires_grad=True)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    assert logits.grad is not None
    counted = torch.arange(4) <= lengths[:, None]
    assert torch.equal(logits.grad.abs().sum(2) > 0, counted)
    wanted = -logits.log_softmax(2)[counted].gather(1, targets[counted][:, None]).mean()
    torch.testing.assert_close(loss, wanted)


@pytest.mark.parametrize(
    ("labels", "lengths", "message"),
    [
        (torch.zeros(2, dtype=torch.int64), torch.tensor([1, 1]), "labels: wanted int64"),
        (torch.zeros(2, 3), torch.tensor([1, 1]), "labels: wanted int64"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([1]), "lengths: wanted int64"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([1.0, 1.0]), "lengths: wanted int64"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([1, 4]), "lengths: wanted 0 to 3"),
        (torch.full((2, 3), 5), torch.tensor([0, 1]), "labels: wanted 0 to 4 within"),
    ],
)
def test_targets_that_cannot_be_are_refused(labels: torch.Tensor, lengths: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        with_end(labels, lengths, 5)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1)])
def test_logits_that_cannot_be_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="^logits: wanted"):
        read_until_end(torch.zeros(shape))
