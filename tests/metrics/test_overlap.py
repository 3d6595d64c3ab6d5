import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unwarp import Affine, Attention, Translation
from unwarp.metrics import box_of, box_overlap


@given(st.integers(0, 1000), st.integers(1, 3))
def test_overlap_is_what_counting_points_says(seed: int, ndim: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(2, ndim, dtype=torch.float64, generator=generator).sort(0).values for _ in range(2))
    points = torch.rand(20_000, ndim, dtype=torch.float64, generator=generator)
    in_a, in_b = (((points >= box[0]) & (points <= box[1])).all(1) for box in (a, b))
    union = (in_a | in_b).sum().clamp_min(1)
    found = box_overlap(a, b).item()
    assert found == pytest.approx(((in_a & in_b).sum() / union).item(), abs=4 * (union.item() ** -0.5) / 2 + 1e-3)


@given(st.integers(0, 1000))
def test_overlap_is_symmetric_and_does_not_depend_on_the_unit(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(5, 2, 3, dtype=torch.float64, generator=generator).sort(1).values for _ in range(2))
    found = box_overlap(a, b)
    assert ((found >= 0) & (found <= 1)).all()
    torch.testing.assert_close(found, box_overlap(b, a))
    torch.testing.assert_close(found, box_overlap(3 * a - 1, 3 * b - 1))
    torch.testing.assert_close(box_overlap(a, a), torch.ones(5, dtype=torch.float64))


def test_boxes_apart_touching_or_empty_have_no_overlap() -> None:
    unit = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert box_overlap(unit, unit + 1) == 0
    assert box_overlap(unit, unit + 5) == 0
    point = torch.zeros(2, 2)
    assert box_overlap(point, point) == 0


def test_half_a_square_beside_it_is_a_third() -> None:
    unit = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(box_overlap(unit, unit + torch.tensor([0.5, 0.0])), torch.tensor(1 / 3))


def test_boxes_broadcast() -> None:
    assert box_overlap(torch.rand(4, 1, 2, 2), torch.rand(3, 2, 2)).shape == (4, 3)


def test_the_box_of_a_map_is_what_it_shows() -> None:
    pull = Attention()(torch.tensor([[0.5, 0.25, -0.1], [1.0, 0.0, 0.0]]))
    wanted = torch.tensor([[[-0.25, -0.6], [0.75, 0.4]], [[-1.0, -1.0], [1.0, 1.0]]])
    torch.testing.assert_close(box_of(pull), wanted)
    quarter_turn = Affine()(torch.tensor([[0.0, -0.5, 0.0, 0.2, 0.0, 0.0]]))
    torch.testing.assert_close(box_of(quarter_turn), torch.tensor([[[-0.5, -0.2], [0.5, 0.2]]]))
    assert box_of(Translation(3)(torch.zeros(2, 4, 3))).shape == (2, 4, 2, 3)


def test_a_mirrored_map_shows_a_box_too() -> None:
    mirrored = Attention()(torch.tensor([[-0.5, 0.0, 0.0]]))
    torch.testing.assert_close(box_of(mirrored), torch.tensor([[[-0.5, -0.5], [0.5, 0.5]]]))


def test_what_is_no_box_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^a: wanted boxes \[\.\.\., 2, D\]"):
        box_overlap(torch.zeros(4), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="^b: wanted boxes of 2 dimensions"):
        box_overlap(torch.zeros(2, 2), torch.zeros(2, 3))
    with pytest.raises(TypeError, match="^b: wanted float32 or float64"):
        box_overlap(torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.int64))
