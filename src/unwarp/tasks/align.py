"""Put pictures in canonical pose with a trained classifier."""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rich.progress import track
from torch import Tensor

from unwarp.coordinates import matrix_in_pixels
from unwarp.data.folder import find_pictures
from unwarp.data.reading import read_picture
from unwarp.maps import LinearMap, Map
from unwarp.models import Classifier
from unwarp.nn import diagnose, mean_rotation
from unwarp.tasks.evaluation import spelled
from unwarp.tasks.files import replacing
from unwarp.warping import warp

_TABLE = "transforms.csv"
_FIRST_COLUMNS = b"file,output,"
# Stands in every picture that is written, which a later call may therefore write over.
_SOFTWARE = "unwarp align"
_OUTLINE = (32, 32)


@torch.no_grad()
def align_pictures(
    model: Classifier,
    pictures: Sequence[str | Path],
    out: Path,
    *,
    image_shape: tuple[int, ...],
    classes: Sequence[str],
    strict: bool = False,
    complain: Callable[[str], None],
) -> int:
    """Write each picture straightened at its own resolution, and `transforms.csv` with what was done to it.

    With several maps of a picture there are as many files of it, `NAME-1.png`, `NAME-2.png`, ..., with a row each.

    Args:
        model: a trained classifier with spatial transformers.
        pictures: files, and folders of them.
        out: folder for the results; inside it, pictures of a folder keep their places.
        image_shape: `(C, H, W)` of the images the model was trained on.
        classes: their names.
        strict: fail on the first picture that cannot be read; otherwise they are left out.
        complain: called with a line for each picture that is left out.

    Returns:
        How many pictures were left out.

    Raises:
        ValueError: for a model without spatial transformers, of volumes, or of images that are neither grey nor in
            colour, a path that is not there, no picture at all, an `out` inside a folder of pictures or where a picture
            would be written over that is no result of an earlier call, or, if `strict`, a broken picture.
    """
    if model.cascade is None:
        raise ValueError("model: wanted one with a spatial transformer (st-...), got a plain network")
    if len(image_shape) != 3:
        raise ValueError(f"model: wanted one for pictures, got one for volumes {image_shape}")
    channels, height, width = image_shape
    if channels not in (1, 3):
        raise ValueError(f"model: wanted one for grey or colour pictures, got one for images of {channels} channels")
    jobs = list(_jobs(pictures, out))
    if not jobs:
        raise ValueError(f"pictures: wanted at least one picture, found none in {', '.join(map(str, pictures))}")
    sources = {source.resolve() for source, _ in jobs}
    for _, target in jobs:
        if target.resolve() in sources:
            raise ValueError(f"out: wanted a folder where no picture is written over, got {out}, over {target}")
    if out.exists() and not out.is_dir():
        raise ValueError(f"out: wanted a folder, got the file {out}")
    table_file = out / _TABLE
    if table_file.exists() and not table_file.read_bytes().startswith(_FIRST_COLUMNS):
        raise ValueError(f"out: wanted a folder where nothing of others is written over, got {table_file}")
    model.eval()
    out.mkdir(parents=True, exist_ok=True)
    signed = PngInfo()
    signed.add_text("Software", _SOFTWARE)
    left_out = 0
    with (
        replacing(table_file) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        table: csv.DictWriter[str] | None = None
        for source, target in track(jobs, "straightening", transient=True, disable=not sys.stdout.isatty()):
            try:
                picture = read_picture(source)
                small = read_picture(source, channels=channels, size=(height, width))
            except ValueError as error:
                if strict:
                    raise
                left_out += 1
                complain(f"left out: {error}")
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            results = _align_one(model, picture, small, classes)
            for index, (row, straight) in enumerate(results, start=1):
                output = target if len(results) == 1 else target.with_stem(f"{target.stem}-{index}")
                if output.exists() and not _is_ours(output):
                    raise ValueError(f"out: wanted a folder where nothing of others is written over, got {output}")
                result = Image.fromarray(straight.permute(1, 2, 0).squeeze(-1).numpy())
                result.save(output, pnginfo=signed, icc_profile=_profile(source) if result.mode == "RGB" else None)
                row = {"file": str(source), "output": output.relative_to(out).as_posix()} | row
                if table is None:
                    table = csv.DictWriter(file, row)
                    table.writeheader()
                table.writerow(row)
        if table is None:
            raise ValueError(f"pictures: wanted at least one that can be read, got {left_out} that cannot")
    return left_out


def _is_ours(file: Path) -> bool:
    """Whether an earlier call, perhaps one that was interrupted, wrote that picture."""
    try:
        with Image.open(file) as picture:
            return picture.info.get("Software") == _SOFTWARE
    except OSError:
        return False


def _profile(file: Path) -> bytes | None:
    """What the colours of a picture mean, where they are red, green and blue already."""
    with Image.open(file) as picture:
        return picture.info.get("icc_profile") if picture.mode in ("RGB", "RGBA") else None


def _align_one(
    model: Classifier, picture: Tensor, small: Tensor, classes: Sequence[str]
) -> list[tuple[dict[str, Any], Tensor]]:
    """For each map of the picture, a row of the table and the straightened picture."""
    image = small.unsqueeze(0).float() / 255
    assert model.cascade is not None
    seen = model.cascade.align(image)
    probability, predicted = model(image).float().softmax(-1)[0].max(-1)
    size = tuple(picture.shape[1:])
    # K maps of one picture, as a batch of K maps.
    pull = seen.pull if len(seen.pull.batch) == 1 else seen.pull.each(lambda tensor: tensor[0])
    thetas = [theta.flatten(0, -2) for theta in seen.thetas]
    results = []
    for index, straight in enumerate(warp(picture.unsqueeze(0), pull, size)):
        # A crop has a label of its own, or what is read of the picture.
        which = index if model.labels_each_crop else ...
        row = _pose(pull[index], size)
        row |= {
            "predicted": spelled(predicted[which].numpy(), classes),
            "probability": _short(probability[which].prod()),
        }
        for step, theta in enumerate(thetas, start=1):
            name = f"theta{step}" if len(thetas) > 1 else "theta"
            row |= {f"{name}_{entry}": _short(value) for entry, value in enumerate(theta[index])}
        results.append((row, straight))
    return results


def _pose(pull: Map, size: tuple[int, ...]) -> dict[str, Any]:
    diagnosis = diagnose(pull, _OUTLINE)
    centre = pull(torch.zeros(1, 1, 2))[0, 0] * torch.tensor([size[1], size[0]]) / 2
    row: dict[str, Any] = {
        "rotation_deg": _short(mean_rotation(pull, size)[0].rad2deg()),
        "scale": _short(diagnosis.scale[0]),
        "translation_x_px": _short(centre[0]),
        "translation_y_px": _short(centre[1]),
        "outside": _short(diagnosis.outside[0]),
    }
    matrix: Sequence[Any] = [""] * 9
    if isinstance(pull, LinearMap):
        matrix = [_short(value) for value in matrix_in_pixels(pull.homogeneous[0], size, size).flatten()]
    return row | {f"matrix_{index // 3}{index % 3}": value for index, value in enumerate(matrix)}


def _short(value: Tensor) -> str:
    return f"{value.item():.6g}"


def _jobs(pictures: Sequence[str | Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """Each picture, and the file it is written to; no two write to the same."""
    taken: set[Path] = set()
    for path in map(Path, pictures):
        if path.is_dir():
            if out.resolve().is_relative_to(path.resolve()):
                raise ValueError(f"out: wanted a folder outside that of the pictures, {path}, got {out}")
            found = [(file, file.relative_to(path)) for file in find_pictures(path)]
        elif path.exists():
            if path.parent.resolve() == out.resolve():
                raise ValueError(f"out: wanted another folder than that of the pictures, got {out}")
            found = [(path, Path(path.name))]
        else:
            raise ValueError(f"pictures: wanted files or folders, got {path}, which is not there")
        for source, relative in found:
            target = out / relative.with_suffix(".png")
            count = 2
            while target in taken:
                target = out / relative.with_name(f"{relative.stem}-{count}.png")
                count += 1
            taken.add(target)
            yield source, target
