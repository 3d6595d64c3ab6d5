"""`report.html`: one self-contained page for a run."""

import base64
import csv
import io
import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure

from unwarp import figures
from unwarp.report.film import write_film, write_turning
from unwarp.report.table import COLUMNS, result_row
from unwarp.tasks.evaluation import EVALUATION, load_evaluation, spelled
from unwarp.tasks.files import replacing
from unwarp.tasks.run_folder import RunFolder

REPORT = "report.html"
# What was logged, by name: (epoch, value).
_Log = dict[str, list[tuple[int, float]]]
_MATRICES = 8
_PANELS = {
    "val_error": "validation error, %",
    "train_loss": "training loss",
    "pose_outside": "share of samples outside",
    "pose_scale": "scale: share of the picture's width that is seen",
}
# What is logged of each of several spatial transformers: side by side, or at each depth of a network.
_ONE_OF_SEVERAL = re.compile(r"pose_(map|depth)(\d+)_(\w+)")


def write_report(run: RunFolder) -> Path:
    """Write `report.html` and its pictures, each a file too, into the folder of a run; returns the page.

    Raises:
        ValueError: if no model of the run is finished.
    """
    results = run.results()
    if not results:
        raise ValueError(f"run: wanted a finished run, but none of {', '.join(run.models)} in {run.path} is finished")
    logs: dict[str, _Log] = {}
    for model in results:
        log = _read_log(run.log_files(model))
        logs |= {model: log} | _each_transformer(model, log)
    panels = [name for name in _PANELS if any(name in log for log in logs.values())]
    film = write_film(run, results)
    environment = Environment(loader=PackageLoader("unwarp", "report"), autoescape=select_autoescape())
    page = environment.get_template("report.html").render(
        title=run.path.resolve().name,
        columns=COLUMNS,
        rows=[result_row(model, record) for model, record in results.items()],
        records=results,
        curves=embed(figures.curves(logs, panels, [_PANELS[name] for name in panels]), "learning curves")
        if panels
        else None,
        film=None if film is None else _image(film.read_bytes(), "gif", "the same pictures after each epoch"),
        models=[_model_section(run, model) for model in results],
        options=run.options.flat(),
    )
    file = run.path / REPORT
    with replacing(file) as partial:
        # Names of files may be no text.
        partial.write_text(page, encoding="utf-8", errors="replace")
    return file


def _model_section(run: RunFolder, model: str) -> dict[str, Any]:
    arrays = load_evaluation(run.folder(model) / EVALUATION)
    classes = [str(name) for name in arrays["classes"]]
    straightens = "gallery_outline" in arrays
    mesh = run.options.model.transform == "tps"
    section: dict[str, Any] = {"name": model, "straightens": straightens}
    after = arrays["mean_after"] if straightens else None
    means = figures.mean_pictures(arrays["mean_before"], after, classes)
    if straightens:
        (run.path / "mean_pictures.png").write_bytes(_png(means))
    section["means"] = embed(means, "mean picture of each class")
    for part in ("gallery", "worst"):
        if len(arrays[f"{part}_input"]):
            section[part] = embed(gallery_of(arrays, part, mesh=mesh), part)
    if run.options.data.addends > 1 and straightens and arrays["gallery_outline"].ndim == 5:
        sums = [f"sum {spelled(label, classes)}" for label in arrays["gallery_label"][:_MATRICES]]
        seen, made, outlines = (arrays[f"gallery_{name}"][:_MATRICES] for name in ("input", "output", "outline"))
        section["channels"] = embed(figures.channels(seen, made, outlines, sums, mesh=mesh), "transformer × channel")
    turning = write_turning(arrays, run.path / "turning.gif")
    if turning is not None:
        section["turning"] = _image(turning.read_bytes(), "gif", "pictures that turn, and what is made of them")
    if "pose_learned" in arrays:
        section["poses"] = embed(figures.poses(arrays["pose_learned"], arrays["pose_true"]), "learned and true pose")
    confusion = figures.confusion(arrays["labels"].ravel(), arrays["predicted"].ravel(), classes)
    section["confusion"] = embed(confusion, "confusion matrix")
    return section


def gallery_of(arrays: dict[str, np.ndarray], part: str, *, mesh: bool) -> Figure:
    """The "gallery" or the "worst" pictures of an evaluation, with what was made of them."""
    pictures = {name.removeprefix(f"{part}_"): array for name, array in arrays.items() if name.startswith(part)}
    classes = [str(name) for name in arrays["classes"]]
    titles = []
    for label, predicted, probability in zip(
        pictures["label"], pictures["predicted"], pictures["probability"], strict=True
    ):
        truth, answer = spelled(label, classes), spelled(predicted, classes)
        titles.append(truth if truth == answer else f"{truth}\n→ {probability:.0%} {answer}")
    return figures.gallery(pictures["input"], pictures["output"], pictures.get("outline"), titles, mesh=mesh)


def _read_log(files: Sequence[Path]) -> _Log:
    """What was logged; a later file has the last word on an epoch."""
    log: dict[str, dict[int, float]] = defaultdict(dict)
    for file in filter(Path.exists, files):
        with file.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                for name, value in row.items():
                    if value and name not in ("epoch", "step"):
                        log[name][int(row["epoch"]) + 1] = float(value)
    return {name: sorted(values.items()) for name, values in log.items()}


def _each_transformer(model: str, log: _Log) -> dict[str, _Log]:
    """The curves of each of several spatial transformers, beside those of its model."""
    curves: dict[str, _Log] = defaultdict(dict)
    for name, points in log.items():
        if match := _ONE_OF_SEVERAL.fullmatch(name):
            place, index, quantity = match.groups()
            curves[f"{model}, {'transformer' if place == 'map' else 'depth'} {index}"][f"pose_{quantity}"] = points
    return curves


def embed(figure: Figure, text: str) -> Markup:
    """The figure as an image element that holds its own data."""
    return _image(_png(figure), "png", text)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that no font here has are drawn as boxes; a warning for each helps nobody.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _image(data: bytes, kind: str, text: str) -> Markup:
    encoded = base64.b64encode(data).decode()
    return Markup('<img src="data:image/{};base64,{}" alt="{}">').format(kind, encoded, text)
