"""`filmstrip.gif`: the same pictures, straightened after each epoch."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from unwarp.tasks.run_folder import RunFolder

_CELL, _GAP, _TITLE = 84, 4, 16
_MILLISECONDS, _LAST_MILLISECONDS = 250, 2000
_MOST_FRAMES = 80


def write_film(run: RunFolder, results: dict[str, Any]) -> Path | None:
    """Write the film of the last model that has one; returns its file, or None."""
    folders = [run.folder(model) / "film" for model in results]
    folders = [folder for folder in folders if (folder / "inputs.npy").exists()]
    if not folders:
        return None
    inputs = np.load(folders[-1] / "inputs.npy", allow_pickle=False)
    files = sorted(folders[-1].glob("[0-9]*.npy"))
    files = files[:: -(-len(files) // _MOST_FRAMES)]
    frames = [_frame(inputs, np.load(file, allow_pickle=False), f"epoch {int(file.stem)}") for file in files]
    times = [_MILLISECONDS] * (len(frames) - 1) + [_LAST_MILLISECONDS]
    path = run.path / "filmstrip.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0)
    return path


def _frame(inputs: np.ndarray, outputs: np.ndarray, title: str) -> Image.Image:
    rows = (inputs, outputs) if outputs.ndim == 4 else (inputs, *outputs.swapaxes(0, 1))
    size = len(inputs) * (_CELL + _GAP) + _GAP, len(rows) * (_CELL + _GAP) + _TITLE
    sheet = Image.new("RGB", size, "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            pixels = np.moveaxis(picture, 0, -1)
            cell = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
            cell = cell.resize((_CELL, _CELL), Image.Resampling.NEAREST)
            sheet.paste(cell, (_GAP + column * (_CELL + _GAP), _TITLE + row * (_CELL + _GAP)))
    ImageDraw.Draw(sheet).text((_GAP, 2), title, fill="black")
    return sheet
