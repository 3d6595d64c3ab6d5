"""An experiment as a table: in the terminal, as Markdown, and as a page with pictures."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure
from rich.table import Table

from unwarp import figures
from unwarp.report.page import REPORT, embed, gallery_of, write_report
from unwarp.tasks.colocalise import Colocalised
from unwarp.tasks.evaluation import EVALUATION, load_evaluation
from unwarp.tasks.experiments import FOUND, Cell, Experiment
from unwarp.tasks.files import replacing
from unwarp.tasks.run_folder import RunFolder

Records = Mapping[str, Sequence[dict[str, Any]]]

COLUMNS = (
    "cell",
    "test error %",
    "published",
    "difference",
    "parameters",
    "epochs",
    "minutes",
    "seeds",
    "on",
    "commit",
)
# Of these, what fits a terminal.
_SHORT = ("cell", "test error %", "published", "difference", "minutes")
_MISSING = "not yet run"
_SIDE_BY_SIDE = 10


def experiment_rows(experiment: Experiment, records: Records) -> list[tuple[str, ...]]:
    """A row for each cell, in the order of `COLUMNS`; means over seeds, which follow in brackets."""
    return [_row(cell, records[cell.name]) for cell in experiment.cells]


def experiment_table(experiment: Experiment, records: Records) -> Table:
    """The table for the terminal."""
    table = Table(title=f"{experiment.title} ({experiment.source})")
    for index, column in enumerate(_SHORT):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for row in experiment_rows(experiment, records):
        table.add_row(*(row[COLUMNS.index(column)].replace("**", "") for column in _SHORT))
    return table


def experiment_markdown(experiment: Experiment, records: Records) -> str:
    """The table as Markdown, under its title."""
    lines = [
        f"## {experiment.title}",
        "",
        f"`unwarp reproduce {experiment.name}`; published: {experiment.source}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---|" + "--:|" * (len(COLUMNS) - 1),
    ]
    lines += [f"| {' | '.join(row)} |" for row in experiment_rows(experiment, records)]
    return "\n".join(lines) + "\n"


def write_experiment(experiment: Experiment, records: Records, out: Path) -> Path:
    """Write EXPERIMENT.md and EXPERIMENT.html into the folder of the runs; returns the page.

    The page shows what the networks of each column make of the same test pictures; then, for each cell whose run is
    still there, more of them, with a link to the report of that run, which is written where it is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{experiment.name}.md").write_text(experiment_markdown(experiment, records), encoding="utf-8")
    columns: dict[str, dict[str, _Seen]] = {}
    sections = []
    for cell in experiment.cells:
        for record in records[cell.name][:1]:
            path = cell.file(record["seed"]).with_suffix("")
            if cell.task == "colocalise" and (out / path / FOUND).exists():
                search = search_of(Colocalised.load(out / path / FOUND))
                sections.append({"name": cell.name, "picture": embed(search, cell.name)})
            if cell.task == "train" and (out / path / record["options"]["model"] / EVALUATION).exists():
                seen = _see(record["options"], out / path)
                columns.setdefault(cell.column, {})[cell.row] = seen
                gallery = embed(gallery_of(seen.arrays, "gallery", mesh=seen.mesh), cell.name)
                sections.append({"name": cell.name, "picture": gallery, "report": (path / REPORT).as_posix()})
    environment = Environment(loader=PackageLoader("unwarp", "report"), autoescape=select_autoescape())
    page = environment.get_template("experiment.html").render(
        title=experiment.title,
        source=experiment.source,
        columns=COLUMNS,
        rows=experiment_rows(experiment, records),
        columns_seen=[
            {"name": column, "picture": embed(figure, column)}
            for column, seen in columns.items()
            if (figure := _side_by_side(seen)) is not None
        ],
        sections=sections,
    )
    file = out / f"{experiment.name}.html"
    with replacing(file) as partial:
        partial.write_text(page, encoding="utf-8", errors="replace")
    return file


def search_of(result: Colocalised, count: int = 5) -> Figure:
    """Where the first pictures were looked at, epoch by epoch."""
    images, boxes, true = result.images[:count], result.boxes[:, :count], result.true[:count]
    return figures.search(images.numpy(), boxes.numpy(), true.numpy())


class _Seen(NamedTuple):
    """The evaluation of a run, and whether its transformer bends."""

    arrays: dict[str, np.ndarray]
    mesh: bool


def _see(options: Mapping[str, Any], path: Path) -> _Seen:
    """What a run made of the test pictures; its report is brought up to date."""
    evaluation, report = path / options["model"] / EVALUATION, path / REPORT
    if not report.exists() or report.stat().st_mtime_ns < evaluation.stat().st_mtime_ns:
        write_report(RunFolder.open(path, backbone=options.get("backbone")))
    return _Seen(load_evaluation(evaluation), options.get("transform") == "tps")


def _side_by_side(seen: Mapping[str, _Seen]) -> Figure | None:
    """What those networks of a column that have transformers make of the same pictures; None if there is but one."""
    straighten = {name: one for name, one in seen.items() if "gallery_outline" in one.arrays}
    if not straighten:
        return None
    inputs = next(iter(straighten.values())).arrays["gallery_input"][:_SIDE_BY_SIDE]
    alike = {
        name: one
        for name, one in straighten.items()
        if np.array_equal(one.arrays["gallery_input"][:_SIDE_BY_SIDE], inputs)
    }
    if len(alike) < 2:
        return None
    return figures.side_by_side(
        inputs,
        {name: one.arrays["gallery_output"][:_SIDE_BY_SIDE] for name, one in alike.items()},
        {name: one.arrays["gallery_outline"][:_SIDE_BY_SIDE] for name, one in alike.items()},
        meshes=[name for name, one in alike.items() if one.mesh],
    )


def _row(cell: Cell, records: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    published = "" if cell.published is None else f"{cell.published:g}"
    if not records:
        return (cell.name, _MISSING, published, *[""] * (len(COLUMNS) - 3))
    errors = [record["test_error"] for record in records]
    mean = statistics.mean(errors)
    each = f" ({', '.join(f'{error:.2f}' for error in errors)})" if len(errors) > 1 else ""
    distance = ""
    if cell.published is not None:
        difference = round(mean - cell.published, 6)  # neither of the two is exact
        reached = difference < 0 if cell.goal == "better" else difference <= 0
        distance = f"{difference:+.2f}{'' if reached else ' ✗'}"

    def distinct(key: str) -> str:
        return ", ".join(dict.fromkeys(str(record[key]) for record in records if record.get(key) is not None))

    machines = [f"{record['machine']}, threads: {record['threads']}" for record in records]
    minutes = ", ".join(f"{record['seconds'] / 60:.1f}" for record in records)
    parameters = f"{records[0]['parameters']:,}" if "parameters" in records[0] else ""
    return (
        cell.name,
        f"**{mean:.2f}**{each}",
        published,
        distance,
        parameters,
        distinct("epochs"),
        minutes,
        distinct("seed"),
        "; ".join(dict.fromkeys(machines)),
        distinct("commit"),
    )
