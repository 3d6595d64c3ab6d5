"""`filmstrip.gif`: the same pictures, straightened after each epoch; `turning.gif`: pictures that turn, held still."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from unwarp.figures import in_colours
from unwarp.tasks.run_folder import RunFolder

_CELL, _GAP, _TITLE = 84, 4, 16
_MILLISECONDS, _LAST_MILLISECONDS, _TURNING_MILLISECONDS = 250, 2000, 100
_MOST_FRAMES = 80


def write_film(run: RunFolder, results: dict[str, Any]) -> Path | None:
    """Write the film of the last model that has one; returns its file, or None."""
    folders = [run.folder(model) / "film" for model in results]
    folders = [folder for folder in folders if (folder / "inputs.npy").exists()]
    if not folders:
        return None
    inputs = np.load(folders[-1] / "inputs.npy", allow_pickle=False)
    files = sorted(folders[-1].glob("[0-9]*.npy"))
    chosen = np.linspace(0, len(files) - 1, min(len(files), _MOST_FRAMES)).round().astype(int)
    files = [files[index] for index in chosen]
    frames = [_frame(inputs, np.load(file, allow_pickle=False), f"epoch {int(file.stem)}") for file in files]
    times = [_MILLISECONDS] * (len(frames) - 1) + [_LAST_MILLISECONDS]
    return _save(frames, times, run.path / "filmstrip.gif")


def write_turning(arrays: Mapping[str, np.ndarray], path: Path) -> Path | None:
    """Write the film of an evaluation's turning pictures, if it has them; returns its file, or None."""
    if "turning_angle" not in arrays:
        return None
    parts = zip(*(arrays[f"turning_{name}"] for name in ("input", "output", "angle")), strict=True)
    frames = [_frame(inputs, outputs, f"turned by {angle:+.0f} degrees") for inputs, outputs, angle in parts]
    return _save(frames, [_TURNING_MILLISECONDS] * len(frames), path)


def _save(frames: list[Image.Image], times: list[int], path: Path) -> Path:
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0)
    return path


def _frame(inputs: np.ndarray, outputs: np.ndarray, title: str) -> Image.Image:
    rows = (inputs, outputs) if outputs.ndim == 4 else (inputs, *outputs.swapaxes(0, 1))
    size = len(inputs) * (_CELL + _GAP) + _GAP, len(rows) * (_CELL + _GAP) + _TITLE
    sheet = Image.new("RGB", size, "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            cell = Image.fromarray(in_colours(picture)).resize((_CELL, _CELL), Image.Resampling.NEAREST)
            sheet.paste(cell, (_GAP + column * (_CELL + _GAP), _TITLE + row * (_CELL + _GAP)))
    ImageDraw.Draw(sheet).text((_GAP, 2), title, fill="black")
    return sheet
