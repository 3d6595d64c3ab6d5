"""Pictures of what spatial transformers do, as matplotlib figures."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from unwarp.coordinates import to_pixel

Curves = Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]

_PER_ROW = 12
_INCH = 0.95
_LEARNED, _QUIET = "#e4572e", "#8d99ae"
_LETTERS = 15
_OTHER_LETTERS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Hiragino Sans",
    "PingFang SC",
    "Yu Gothic",
    "Microsoft YaHei",
    "IPAGothic",
    "WenQuanYi Zen Hei",
    "Arial Unicode MS",
)
# One for each map of a picture, in order, and again from the first.
_MAPS = (_LEARNED, "#17a398", "#f3a712", "#7768ae")


def in_colours(picture: np.ndarray) -> np.ndarray:
    """A picture `[C, H, W]` as `[H, W]` or `[H, W, 3]`: two channels red and cyan, more than three as their mean."""
    channels = len(picture)
    if channels == 3:
        return np.moveaxis(picture, 0, -1)
    if channels == 2:
        return np.stack([picture[0], picture[1], picture[1]], axis=-1)
    return picture[0] if channels == 1 else picture.mean(0).astype(picture.dtype)


def show_picture(axes: Axes, picture: np.ndarray) -> None:
    """Draw one picture `[C, H, W]`, 0..1 (or bytes), without axes; see `in_colours`."""
    if picture.dtype == np.uint8:
        picture = picture / 255
    axes.imshow(np.clip(in_colours(picture), 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def draw_outline(
    axes: Axes, outline: np.ndarray, size: Sequence[int], *, mesh: bool = False, colour: str = _LEARNED
) -> None:
    """Draw where an output lies in an input of `size` (H, W): `outline [h, w, 2]`, a map's grid, normalised.

    The thick side is the upper one of the output. With `mesh` the lines between are drawn too.
    """
    height, width = outline.shape[:2]
    x, y = np.moveaxis(to_pixel(torch.from_numpy(np.ascontiguousarray(outline)), size).numpy(), -1, 0)
    rows = range(height) if mesh else (0, height - 1)
    columns = range(width) if mesh else (0, width - 1)
    for row in rows:
        axes.plot(x[row], y[row], color=colour, linewidth=2.0 if row == 0 else 0.8)
    for column in columns:
        axes.plot(x[:, column], y[:, column], color=colour, linewidth=0.8)
    margin_y, margin_x = size[0] / 6, size[1] / 6
    axes.set_xlim(-0.5 - margin_x, size[1] - 0.5 + margin_x)
    axes.set_ylim(size[0] - 0.5 + margin_y, -0.5 - margin_y)
    for spine in axes.spines.values():
        spine.set_visible(False)


def gallery(
    inputs: np.ndarray, outputs: np.ndarray, outlines: np.ndarray | None, titles: Sequence[str], *, mesh: bool = False
) -> Figure:
    """Inputs `[n, C, H, W]` with their outlines, above what was made of them.

    Outlines are `[n, h, w, 2]` and outputs `[n, C, h', w']`; or both have an axis K after the first, for K maps of each
    picture: each then has its colour.
    """
    if outlines is not None and outlines.ndim == 4:
        outputs, outlines = outputs[:, None], outlines[:, None]
    figure, grid = _rows_of_axes(len(inputs), 1 if outlines is None else 1 + outlines.shape[1])
    for index, (upper, *lower) in enumerate(grid):
        show_picture(upper, inputs[index])
        upper.set_title(_caption(titles[index]), fontsize=7, **_names())
        if outlines is not None:
            _draw_outlines(upper, outlines[index], inputs.shape[2:], mesh=mesh)
            _show_outputs(lower, outputs[index])
    return figure


def side_by_side(
    inputs: np.ndarray,
    outputs: Mapping[str, np.ndarray],
    outlines: Mapping[str, np.ndarray],
    *,
    meshes: Collection[str] = (),
) -> Figure:
    """What several networks make of the same inputs `[n, C, H, W]`: for each, a row of what it looked at and of it.

    Outputs `[n, C, h', w']` and outlines `[n, h, w, 2]` by name, or both with an axis K after the first; networks of
    these `meshes` are shown with the lines between.
    """
    several = {name: made[:, None] if made.ndim == 4 else made for name, made in outputs.items()}
    rows = sum(1 + made.shape[1] for made in several.values())
    figure = Figure(figsize=(_INCH * len(inputs), (_INCH + 0.05) * rows + 0.1), layout="constrained")
    grid = iter(figure.subplots(rows, len(inputs), squeeze=False))
    for name, made in several.items():
        part = [next(grid) for _ in range(1 + made.shape[1])]
        part[0][0].set_ylabel(name, fontsize=7)
        for index, outline in enumerate(outlines[name].reshape(*made.shape[:2], *outlines[name].shape[-3:])):
            upper, *lower = (axes[index] for axes in part)
            show_picture(upper, inputs[index])
            _draw_outlines(upper, outline, inputs.shape[2:], mesh=name in meshes)
            _show_outputs(lower, made[index])
    return figure


def channels(
    inputs: np.ndarray, outputs: np.ndarray, outlines: np.ndarray, titles: Sequence[str], *, mesh: bool = False
) -> Figure:
    """What K maps show of each of the channels of a picture: a matrix of map × channel for each picture.

    A row for each channel: the input `[n, C, H, W]` with the outlines `[n, K, h, w, 2]`, then the K outputs
    `[n, K, C, h', w']`.
    """
    count, maps, rows = *outlines.shape[:2], inputs.shape[1]
    blocks = max(1, _PER_ROW // (maps + 1))
    wide, high = min(count, blocks), -(-count // blocks)
    figure = Figure(figsize=(_INCH * wide * (maps + 1), (_INCH * rows + 0.25) * high), layout="constrained")
    for index, part in enumerate(figure.subfigures(high, wide, squeeze=False).flat[:count]):
        grid = part.subplots(rows, maps + 1, squeeze=False)
        part.suptitle(titles[index], fontsize=8)
        for channel, (first, *others) in enumerate(grid):
            one = slice(channel, channel + 1)
            show_picture(first, inputs[index, one])
            _draw_outlines(first, outlines[index], inputs.shape[2:], mesh=mesh)
            _show_outputs(others, outputs[index, :, one])
    return figure


def search(inputs: np.ndarray, boxes: np.ndarray, true: np.ndarray) -> Figure:
    """Where something was looked for in pictures, epoch by epoch: a row for each picture, a column for each epoch.

    Inputs `[n, C, H, W]`; the boxes shown `[E, n, 2, 2]`, of which some epochs are drawn if there are many, and the
    true ones `[n, 2, 2]` (dotted): lowest and highest corner (x, y), normalised.
    """
    epochs = np.unique(np.linspace(0, len(boxes) - 1, _PER_ROW).round().astype(int))
    figure = Figure(figsize=(_INCH * len(epochs), _INCH * len(inputs) + 0.25), layout="constrained")
    size = inputs.shape[2:]
    for row, places in enumerate(figure.subplots(len(inputs), len(epochs), squeeze=False)):
        for axes, epoch in zip(places, epochs, strict=True):
            show_picture(axes, inputs[row])
            _draw_box(axes, true[row], size, color=_QUIET, linestyle=":")
            _draw_box(axes, boxes[epoch, row], size, color=_LEARNED)
            if row == 0:
                axes.set_title(f"epoch {epoch}", fontsize=7)
    return figure


def mean_pictures(before: np.ndarray, after: np.ndarray | None, classes: Sequence[str]) -> Figure:
    """The mean picture `[classes, C, H, W]` of each class as it came, above the mean of the straightened ones.

    These may have an axis K after the first, for K maps of each picture.
    """
    if after is not None and after.ndim == 4:
        after = after[:, None]
    figure, grid = _rows_of_axes(len(before), 1 if after is None else 1 + after.shape[1])
    brightest = [max(float(pictures.max()), 1e-6) for pictures in (before, before if after is None else after)]
    for index, (upper, *lower) in enumerate(grid):
        show_picture(upper, before[index] / brightest[0])
        upper.set_title(_caption(classes[index]), fontsize=8, **_names())
        if after is not None:
            _show_outputs(lower, after[index] / brightest[1])
    return figure


def curves(logs: Curves, names: Sequence[str], titles: Sequence[str]) -> Figure:
    """One panel per logged quantity; in it a line per model over the epochs."""
    figure = Figure(figsize=(4.5 * len(names), 3), layout="constrained")
    for panel, (name, title) in enumerate(zip(names, titles, strict=True), start=1):
        axes = figure.add_subplot(1, len(names), panel)
        for model, log in logs.items():
            points = log.get(name, ())
            if points:
                marker = "o" if len(points) == 1 else None
                axes.plot(*zip(*points, strict=True), label=model, linewidth=1.5, marker=marker)
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
    names = [_plain(name) for name in classes]
    axes.set_xticks(range(count), names, fontsize=6, rotation=90, **_names())
    axes.set_yticks(range(count), names, fontsize=6, **_names())
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("true", fontsize=8)
    return figure


def _plain(name: str) -> str:
    """A name from the disk as it can be drawn."""
    return name.encode("utf-8", "replace").decode()


def _caption(text: str) -> str:
    """What stands over a picture, its lines cut to its width."""
    lines = _plain(text).split("\n")
    return "\n".join(line if len(line) <= _LETTERS else f"{line[: _LETTERS - 1]}…" for line in lines)


@cache
def _names() -> dict[str, Any]:
    """How names of the user's are drawn: not as formulas, and in a font that has their letters, if there is one."""
    installed = set(font_manager.get_font_names())
    return {"parse_math": False, "fontfamily": ["DejaVu Sans", *(font for font in _OTHER_LETTERS if font in installed)]}


def poses(learned: np.ndarray, true: np.ndarray) -> Figure:
    """Learned against true pose, both `[n, 4]`: rotation in radians, log-scale, centre x and y.

    Learned ones of K maps of each picture, `[n, K, 4]`, are drawn against each of A true ones `[n, A, 4]`, a row for
    each pair; r is the correlation.
    """
    learned, true = (poses.reshape(len(poses), -1, 4) for poses in (learned, true))
    pairs = [(k, a) for k in range(learned.shape[1]) for a in range(true.shape[1])]
    figure = Figure(figsize=(12, 3 * len(pairs)), layout="constrained")
    grid = figure.subplots(len(pairs), 4, squeeze=False)
    for row, (k, a) in zip(grid, pairs, strict=True):
        ours, truth = learned[:, k], true[:, a]
        columns = [
            ("rotation, degrees", np.rad2deg(ours[:, 0]), np.rad2deg(truth[:, 0])),
            ("scale", np.exp(ours[:, 1]), np.exp(truth[:, 1])),
            ("centre x", ours[:, 2], truth[:, 2]),
            ("centre y", ours[:, 3], truth[:, 3]),
        ]
        words = (f"true, picture {a + 1}", f"learned, transformer {k + 1}") if len(pairs) > 1 else ("true", "learned")
        for axes, (title, found, wanted) in zip(row, columns, strict=True):
            _scatter(axes, title, wanted, found, words, _MAPS[k % len(_MAPS)])
    return figure


def _scatter(
    axes: Axes, title: str, true: np.ndarray, learned: np.ndarray, words: tuple[str, str], colour: str
) -> None:
    known = np.isfinite(true)
    axes.plot(true[known], learned[known], ".", markersize=2, color=colour, alpha=0.5)
    spread = min(float(np.std(true[known])), float(np.std(learned[known]))) if known.any() else 0.0
    correlation = f", r = {np.corrcoef(true[known], learned[known])[0, 1]:.2f}" if spread > 1e-6 else ""
    axes.set_title(title + correlation, fontsize=9)
    axes.set_xlabel(words[0], fontsize=8)
    axes.set_ylabel(words[1], fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if not known.any():
        axes.text(0.5, 0.5, "not known", ha="center", transform=axes.transAxes, color=_QUIET)


def _draw_box(axes: Axes, box: np.ndarray, size: Sequence[int], **line: str) -> None:
    low, high = to_pixel(torch.from_numpy(box), size).numpy()
    axes.add_patch(Rectangle(tuple(low), *(high - low), fill=False, linewidth=1.2, **line))


def _draw_outlines(axes: Axes, outlines: np.ndarray, size: Sequence[int], *, mesh: bool) -> None:
    """The outlines `[K, h, w, 2]` of K maps, each in its colour."""
    for index, outline in enumerate(outlines):
        draw_outline(axes, outline, size, mesh=mesh, colour=_MAPS[index % len(_MAPS)])


def _show_outputs(places: Sequence[Axes], outputs: np.ndarray) -> None:
    """The outputs `[K, C, h, w]` of K maps, framed in their colours where there are several."""
    for index, (axes, output) in enumerate(zip(places, outputs, strict=True)):
        show_picture(axes, output)
        if len(outputs) > 1:
            axes.spines[:].set(color=_MAPS[index % len(_MAPS)], linewidth=1.5)


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
