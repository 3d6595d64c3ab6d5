import io

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from unwarp import figures


def outlines(*batch: int) -> np.ndarray:
    axis = np.linspace(-1, 1, 9)
    return np.broadcast_to(np.stack(np.meshgrid(axis, axis), -1), (*batch, 9, 9, 2)).astype(np.float32)


def lines_of(axes) -> set[str]:
    return {line.get_color() for line in axes.lines}


def test_a_picture_of_any_channels_has_colours() -> None:
    one, two, three, five = (np.random.default_rng(0).random((channels, 4, 6)) for channels in (1, 2, 3, 5))
    assert np.array_equal(figures.in_colours(one), one[0])
    assert np.array_equal(figures.in_colours(two), np.stack([two[0], two[1], two[1]], -1))
    assert np.array_equal(figures.in_colours(three), np.moveaxis(three, 0, -1))
    assert np.array_equal(figures.in_colours(five), five.mean(0))


@pytest.mark.parametrize("maps", [None, 1, 2, 5])
def test_the_gallery_has_an_outline_and_an_output_for_each_map(maps: int | None) -> None:
    inputs = np.zeros((3, 2, 12, 12), dtype=np.float32)
    batch = (3,) if maps is None else (3, maps)
    figure = figures.gallery(inputs, np.zeros((*batch, 2, 6, 6)), outlines(*batch), ["a", "b", "c"])
    assert len(figure.axes) == 3 * (1 + (maps or 1))
    drawn = {colour for axes in figure.axes for colour in lines_of(axes)}
    assert len(drawn) == min(maps or 1, 4)
    assert sum(len(axes.lines) for axes in figure.axes) == 3 * 4 * (maps or 1)


def test_without_an_outline_there_are_inputs_only() -> None:
    assert len(figures.gallery(np.zeros((2, 1, 5, 5)), np.zeros((2, 1, 5, 5)), None, ["", ""]).axes) == 2


def test_networks_are_shown_with_the_same_pictures() -> None:
    inputs = np.random.default_rng(0).random((3, 1, 12, 12)).astype(np.float32)
    made = {"one": np.zeros((3, 1, 6, 6)), "two": np.ones((3, 2, 1, 6, 6)), "bent": np.ones((3, 1, 6, 6))}
    where = {"one": outlines(3), "two": outlines(3, 2), "bent": outlines(3)}
    rows = figures.side_by_side(inputs, made, where, meshes=["bent"]).axes
    assert len(rows) == 3 * (2 + 3 + 2)
    for row in (0, 2, 5):
        for index in range(3):
            axes = rows[3 * row + index]
            np.testing.assert_array_equal(np.asarray(axes.images[0].get_array()), inputs[index, 0])
    assert [len(rows[3 * row].lines) for row in (0, 2, 5)] == [4, 2 * 4, 2 * 9]
    assert [rows[3 * row].get_ylabel() for row in (0, 2, 5)] == ["one", "two", "bent"]


def test_the_matrix_has_a_row_for_each_channel_and_a_column_for_each_map() -> None:
    inputs = np.arange(2 * 3, dtype=np.float32).reshape(2, 3, 1, 1) / 6 + np.zeros((2, 3, 8, 8), dtype=np.float32)
    made = np.zeros((2, 2, 3, 4, 4), dtype=np.float32)
    figure = figures.channels(inputs, made, outlines(2, 2), ["x", "y"])
    assert len(figure.axes) == 2 * 3 * (1 + 2)
    shown = [np.asarray(axes.images[0].get_array()).max() for axes in figure.axes[:: 1 + 2]]
    np.testing.assert_allclose(shown, inputs[:, :, 0, 0].ravel(), rtol=1e-6)


@pytest.mark.parametrize("maps", [None, 2])
def test_mean_pictures_have_a_row_for_each_map(maps: int | None) -> None:
    batch = (4,) if maps is None else (4, maps)
    figure = figures.mean_pictures(np.ones((4, 1, 6, 6)), np.ones((*batch, 1, 3, 3)), list("abcd"))
    assert len(figure.axes) == 4 * (1 + (maps or 1))
    assert len(figures.mean_pictures(np.ones((4, 1, 6, 6)), None, list("abcd")).axes) == 4


def test_each_learned_pose_is_drawn_against_each_true_one() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=(50, 2, 4))
    learned = true[:, ::-1] + 0.01 * random.normal(size=(50, 2, 4))  # each found the other's picture
    figure = figures.poses(learned, true)
    assert len(figure.axes) == 2 * 2 * 4
    assert ["r = 1.00" in axes.get_title() for axes in figure.axes[2::4]] == [False, True, True, False]
    true[:, :, 2:] = np.nan
    unknown = figures.poses(learned[:, 0], true[:, 0])
    assert [len(axes.texts) for axes in unknown.axes] == [0, 0, 1, 1]


@pytest.mark.parametrize("epochs", [1, 3, 40])
def test_a_search_is_drawn_from_its_first_to_its_last_epoch(epochs: int) -> None:
    boxes = np.linspace(0, 1, epochs)[:, None, None, None] * np.ones((2, 2, 2), dtype=np.float32)
    figure = figures.search(np.zeros((2, 1, 8, 8)), boxes.astype(np.float32), boxes[0].astype(np.float32))
    assert len(figure.axes) == 2 * min(epochs, 12)
    first, last = figure.axes[0], figure.axes[min(epochs, 12) - 1]
    assert first.get_title() == "epoch 0"
    assert last.get_title() == f"epoch {epochs - 1}"
    # The box itself is drawn last, over the true one.
    box = last.patches[-1]
    assert isinstance(box, Rectangle)
    assert box.get_xy()[0] == pytest.approx(4 * (boxes[-1, 0, 0, 0] + 1) - 0.5)


def test_names_of_any_kind_are_drawn() -> None:
    names, pictures = ["$_$", "\udcff", "ü"], np.random.default_rng(0).random((3, 1, 8, 8))
    for figure in (
        figures.mean_pictures(pictures, pictures, names),
        figures.confusion(np.arange(3), np.arange(3), names),
    ):
        figure.savefig(io.BytesIO(), format="png")
