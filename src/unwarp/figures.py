"""Pictures of what spatial transformers do, as matplotlib figures."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unwarp.coordinates import to_pixel

Curves = Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]

_PER_ROW = 12
_INCH = 0.95
_LEARNED, _QUIET = "#e4572e", "#8d99ae"


def show_picture(axes: Axes, picture: np.ndarray) -> None:
    """Draw one picture `[C, H, W]`, 0..1 (or bytes), grey or RGB, without axes."""
    if picture.dtype == np.uint8:
        picture = picture / 255
    image = np.clip(np.moveaxis(picture, 0, -1), 0, 1)
    axes.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def draw_outline(axes: Axes, outline: np.ndarray, size: Sequence[int], *, mesh: bool = False) -> None:
    """Draw where an output lies in an input of `size` (H, W): `outline [h, w, 2]`, a map's grid, normalised.

    The thick side is the upper one of the output. With `mesh` the lines between are drawn too.
    """
    height, width = outline.shape[:2]
    x, y = np.moveaxis(to_pixel(torch.from_numpy(np.ascontiguousarray(outline)), size).numpy(), -1, 0)
    rows = range(height) if mesh else (0, height - 1)
    columns = range(width) if mesh else (0, width - 1)
    for row in rows:
        axes.plot(x[row], y[row], color=_LEARNED, linewidth=2.0 if row == 0 else 0.8)
    for column in columns:
        axes.plot(x[:, column], y[:, column], color=_LEARNED, linewidth=0.8)
    margin_y, margin_x = size[0] / 6, size[1] / 6
    axes.set_xlim(-0.5 - margin_x, size[1] - 0.5 + margin_x)
    axes.set_ylim(size[0] - 0.5 + margin_y, -0.5 - margin_y)
    for spine in axes.spines.values():
        spine.set_visible(False)


def gallery(
    inputs: np.ndarray, outputs: np.ndarray, outlines: np.ndarray | None, titles: Sequence[str], *, mesh: bool = False
) -> Figure:
    """Inputs `[n, C, H, W]` with their outlines `[n, h, w, 2]`, above what was made of them `[n, C, h', w']`."""
    figure, grid = _rows_of_axes(len(inputs), 1 if outlines is None else 2)
    for index, (upper, *lower) in enumerate(grid):
        show_picture(upper, inputs[index])
        upper.set_title(titles[index], fontsize=7)
        if outlines is not None:
            draw_outline(upper, outlines[index], inputs.shape[2:], mesh=mesh)
            show_picture(lower[0], outputs[index])
    return figure


def mean_pictures(before: np.ndarray, after: np.ndarray | None, classes: Sequence[str]) -> Figure:
    """The mean picture `[classes, C, H, W]` of each class as it came, above the mean of the straightened ones."""
    figure, grid = _rows_of_axes(len(before), 1 if after is None else 2)
    brightest = [max(float(pictures.max()), 1e-6) for pictures in (before, before if after is None else after)]
    for index, (upper, *lower) in enumerate(grid):
        show_picture(upper, before[index] / brightest[0])
        upper.set_title(classes[index], fontsize=8)
        if after is not None:
            show_picture(lower[0], after[index] / brightest[1])
    return figure


def curves(logs: Curves, names: Sequence[str], titles: Sequence[str]) -> Figure:
    """One panel per logged quantity; in it a line per model over the epochs."""
    figure = Figure(figsize=(4.5 * len(names), 3), layout="constrained")
    for panel, (name, title) in enumerate(zip(names, titles, strict=True), start=1):
        axes = figure.add_subplot(1, len(names), panel)
        for model, log in logs.items():
            points = log.get(name, ())
            if points:
                axes.plot(*zip(*points, strict=True), label=model, linewidth=1.5)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        if axes.lines:
            if all(value > 0 for log in logs.values() for _, value in log.get(name, ())):
                axes.set_yscale("log")
            axes.legend(fontsize=8)
    return figure


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Figure:
    """How often each class (row) was taken for each other; the diagonal is left out of the colours."""
    count = len(classes)
    table = np.zeros((count, count), dtype=int)
    np.add.at(table, (labels, predicted), 1)
    errors = table.copy()
    np.fill_diagonal(errors, 0)
    side = 2.5 + 0.22 * count
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(errors, cmap="Reds", vmax=max(1, errors.max()))
    if count <= 20:
        for row in range(count):
            for column in range(count):
                if table[row, column]:
                    axes.text(column, row, str(table[row, column]), ha="center", va="center", fontsize=6)
    axes.set_xticks(range(count), classes, fontsize=6, rotation=90)
    axes.set_yticks(range(count), classes, fontsize=6)
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("true", fontsize=8)
    return figure


def poses(learned: np.ndarray, true: np.ndarray) -> Figure:
    """Learned against true pose, both `[n, 4]`: rotation in radians, log-scale, centre x and y."""
    figure = Figure(figsize=(12, 3), layout="constrained")
    columns = [
        ("rotation, degrees", np.rad2deg(learned[:, 0]), np.rad2deg(true[:, 0])),
        ("scale", np.exp(learned[:, 1]), np.exp(true[:, 1])),
        ("centre x", learned[:, 2], true[:, 2]),
        ("centre y", learned[:, 3], true[:, 3]),
    ]
    for panel, (title, ours, truth) in enumerate(columns, start=1):
        axes = figure.add_subplot(1, 4, panel)
        known = np.isfinite(truth)
        axes.plot(truth[known], ours[known], ".", markersize=2, color=_LEARNED, alpha=0.5)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("true", fontsize=8)
        axes.set_ylabel("learned", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        if not known.any():
            axes.text(0.5, 0.5, "not known", ha="center", transform=axes.transAxes, color=_QUIET)
    return figure


def _rows_of_axes(count: int, height: int) -> tuple[Figure, list[list[Axes]]]:
    """A column of `height` axes for each of `count` pictures, wrapped into rows."""
    wide = min(count, _PER_ROW)
    blocks = max(1, -(-count // _PER_ROW))
    figure = Figure(figsize=(_INCH * max(wide, 1), (_INCH * height + 0.25) * blocks), layout="constrained")
    columns = []
    for index in range(count):
        block, place = divmod(index, _PER_ROW)
        columns.append(
            [
                figure.add_subplot(blocks * height, wide, (block * height + row) * wide + place + 1)
                for row in range(height)
            ]
        )
    return figure, columns
