"""The pictures of docs/sampling.md, drawn by the sampler itself: `python docs/draw/sampling.py`."""

from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from sklearn.datasets import load_digits

import unwarp
from unwarp.sampling import MODES, PADDINGS

matplotlib.use("agg")
import matplotlib.pyplot as plt

IMAGES = Path(__file__).parents[1] / "images"
PIXELS, _ = load_digits(return_X_y=True)
DIGIT = torch.tensor(PIXELS[4], dtype=torch.float32).reshape(1, 1, 8, 8) / 16


def main() -> None:
    for name, draw in {"convention": convention, "modes": modes, "paddings": paddings, "antialias": antialias}.items():
        draw().savefig(IMAGES / f"sampling_{name}.png", dpi=110, bbox_inches="tight")
        plt.close("all")


def convention() -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    for axes, title in ((left, "input, 4 × 3 pixels"), (right, "output, 3 × 3 pixels")):
        axes.set(title=title, xlim=(-1.35, 1.35), ylim=(1.35, -1.35), xlabel="x", ylabel="y")
        axes.set_xticks([-1, 0, 1])
        axes.set_yticks([-1, 0, 1])
    _pixels(left, 4, 3)
    _pixels(right, 3, 3)
    pull = unwarp.Similarity()(torch.tensor([[0.6, 0.35, 0.15, 0.0]]))
    points = pull.grid((3, 3))[0].flatten(0, 1).tolist()
    left.plot(*zip(*points, strict=True), "o", color="tab:red", markersize=5)
    start = unwarp.LinearMap(torch.eye(2, 3)[None]).grid((3, 3))[0, 0, 2].tolist()
    arrow = {"arrowstyle": "->", "color": "tab:red", "linewidth": 1.5}
    figure.add_artist(ConnectionPatch((*start,), (*points[2],), "data", "data", axesA=right, axesB=left, **arrow))
    figure.text(0.515, 0.9, "pull", color="tab:red", ha="center")
    return figure


def _pixels(axes: Axes, width: int, height: int) -> None:
    for x in torch.linspace(-1, 1, width + 1):
        axes.plot([x, x], [-1, 1], color="0.6", linewidth=1)
    for y in torch.linspace(-1, 1, height + 1):
        axes.plot([-1, 1], [y, y], color="0.6", linewidth=1)
    grid = unwarp.LinearMap(torch.eye(2, 3)[None]).grid((height, width))[0].flatten(0, 1)
    axes.plot(*grid.T, "+", color="0.3")


def modes() -> Figure:
    pull = unwarp.Similarity()(torch.tensor([[0.9, 0.4, 0.0, 0.0]]))
    pictures = {mode: unwarp.warp(DIGIT, pull, (96, 96), mode=mode, padding="border") for mode in MODES}
    return _row({"8 × 8 pixels": DIGIT} | pictures)


def paddings() -> Figure:
    pull = unwarp.Similarity()(torch.tensor([[2.6, 0.3, 0.0, 0.0]]))
    fills = {"constant": 0.4}
    pictures = {
        padding: unwarp.warp(DIGIT, pull, (96, 96), padding=padding, fill=fills.get(padding, 0.0))
        for padding in PADDINGS
    }
    both = unwarp.warp(DIGIT, pull, (96, 96), padding=("border", "wrap"))
    return _row(pictures | {"border, wrap": both})


def antialias() -> Figure:
    axis = torch.linspace(-1, 1, 600)
    rings = (0.5 + 0.5 * torch.cos(260 * (axis[:, None] ** 2 + axis**2)))[None, None]
    pull = unwarp.Rotation()(torch.tensor([[0.3]]))
    plain, smooth = (unwarp.warp(rings, pull, (100, 100), antialias=word) for word in (False, True))
    return _row({"600 × 600 pixels": rings, "turned, shrunk 6×": plain, "antialias=True": smooth}, height=3)


def _row(pictures: dict[str, torch.Tensor], height: float = 1.7) -> Figure:
    figure, row = plt.subplots(1, len(pictures), figsize=(height * len(pictures), height + 0.3), squeeze=False)
    for axes, (title, picture) in zip(row[0], pictures.items(), strict=True):
        axes.imshow(picture[0, 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
