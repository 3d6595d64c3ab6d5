"""Published tables, cell by cell: what each cell trains, what was published for it, and what was measured.

A table is a YAML file in `recipes/experiments/`; a measurement is a small JSON file,
`RESULTS/EXPERIMENT/ROW.COLUMN.SEED.json`, written when its training has ended. The options of a cell are those of its
column's recipe, of the column, of the row, and of the row in that column (`columns`); the last that names one decides.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from unwarp.data import load
from unwarp.tasks.colocalise import Encoder, colocalise, train_encoder
from unwarp.tasks.files import replacing
from unwarp.tasks.machine import machine
from unwarp.tasks.options import ColocaliseOptions, Options
from unwarp.tasks.recipes import RECIPES, recipe_options
from unwarp.tasks.run_folder import RunFolder
from unwarp.tasks.training import train

_TABLES = RECIPES / "experiments"
# What a table says instead of data that cannot be downloaded.
FOLDER = "FOLDER"
# In the folder of a co-localisation: a `Colocalised`.
FOUND = "found.npz"


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        experiment: the table.
        row: what is measured, most often a network.
        column: what it is measured on.
        task: "train", or "colocalise", whose figure is the share that was not found.
        published: the published figure, None where there is none.
        goal: what is wanted of ours: "better", "as good" or, where nothing is published, "report".
        options: of its training, without the seed.
        gpu: what is changed in them on a GPU, which small batches leave idle.
        quick: what its quick setting changes in them.
    """

    experiment: str
    row: str
    column: str
    task: str
    published: float | None
    goal: str
    options: Mapping[str, Any] = field(repr=False, hash=False)
    gpu: Mapping[str, Any] = field(repr=False, hash=False)
    quick: Mapping[str, Any] = field(repr=False, hash=False)

    @property
    def name(self) -> str:
        """ROW/COLUMN, as the command line takes it."""
        return f"{self.row}/{self.column}"

    @property
    def needs_folder(self) -> bool:
        """Whether its pictures have to be fetched by hand."""
        return self.options["data"] == FOLDER

    def options_on(self, accelerator: str, *, quick: bool = False) -> dict[str, Any]:
        """The options of its training on "cpu" or "gpu", "auto" being a GPU where there is one; without the seed."""
        on_gpu = accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())
        return {**self.options, **(self.gpu if on_gpu else {}), **(self.quick if quick else {})}

    def file(self, seed: int) -> Path:
        """Where its measurement is kept, below the folder of all results."""
        return Path(self.experiment) / f"{self.row}.{self.column}.{seed}.json"

    def run(
        self,
        out: Path,
        seed: int,
        console: Console,
        *,
        quick: bool = False,
        data: str | None = None,
        accelerator: str = "auto",
        later: int = 0,
    ) -> dict[str, Any]:
        """Train it, or go on where it was stopped (a co-localisation, of a minute, begins anew); returns the record.

        Args:
            out: the folder of all runs.
            seed: of the run.
            console: where to show progress.
            quick: whether to take the quick setting.
            data: the folder of pictures, where the table names none.
            accelerator: "cpu" or "gpu"; "auto" is a GPU where there is one. A co-localisation always takes the CPU.
            later: epochs of the cells that follow, see `train`.

        Raises:
            ValueError: for data where the table names its own, or the other way round, or a run of other options there.
        """
        path = out / self.file(seed).with_suffix("")
        options = {**self.options_on(accelerator, quick=quick), "seed": seed}
        if accelerator != "auto" and self.task == "train":
            options["accelerator"] = accelerator
        if self.needs_folder != (data is not None):
            raise ValueError(f"data: wanted {'a folder' if data is None else 'none'} for {self.experiment}, got {data}")
        options["data"] = data or options["data"]
        record = _train(path, options, console, later) if self.task == "train" else _colocalise(path, options, console)
        return {"experiment": self.experiment, "row": self.row, "column": self.column, **record, "options": options}


@dataclass(frozen=True)
class Experiment:
    """A published table."""

    name: str
    title: str
    source: str
    cells: tuple[Cell, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows, in order."""
        return tuple(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(dict.fromkeys(cell.column for cell in self.cells))

    def cells_of(self, name: str) -> tuple[Cell, ...]:
        """Those of that name, ROW/COLUMN, or of that row or column."""
        return tuple(cell for cell in self.cells if name in (cell.name, cell.row, cell.column))

    def choose(self, names: Iterable[str]) -> tuple[Cell, ...]:
        """The cells of the given names, each ROW/COLUMN, ROW or COLUMN. ValueError for one that is none."""
        chosen: list[Cell] = []
        for name in names:
            found = self.cells_of(name)
            if not found:
                raise ValueError(f"cells: wanted some of {', '.join(cell.name for cell in self.cells)}; got {name!r}")
            chosen += found
        return tuple(dict.fromkeys(chosen))

    def records(self, results: Path) -> dict[str, list[dict[str, Any]]]:
        """What was measured, by cell and in the order of seeds, from the folder of all results."""
        found: dict[str, list[dict[str, Any]]] = {cell.name: [] for cell in self.cells}
        for file in (results / self.name).glob("*.json"):
            try:
                record = json.loads(file.read_text(encoding="utf-8"))
                name = f"{record['row']}/{record['column']}"
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"results: wanted the record of a cell in {file}, got {error}") from error
            if name not in found:
                raise ValueError(f"results: wanted cells of {self.name}, got {name} in {file}")
            found[name].append(record)
        return {name: sorted(records, key=lambda record: record["seed"]) for name, records in found.items()}


def experiment_names() -> tuple[str, ...]:
    """Every experiment."""
    return tuple(sorted(file.stem for file in _TABLES.glob("*.yaml")))


def load_experiment(name: str) -> Experiment:
    """An experiment by name. ValueError if there is none of that name."""
    if name not in experiment_names():
        raise ValueError(f"experiment: wanted one of {', '.join(experiment_names())}; got {name!r}")
    table = yaml.safe_load((_TABLES / f"{name}.yaml").read_text(encoding="utf-8"))
    cells = []
    for row_name, row in table["rows"].items():
        for column_name, column in table["columns"].items():
            if column_name not in row.get("only", table["columns"]):
                continue
            recipe = recipe_options(column["recipe"]) if "recipe" in column else {}
            here = row.get("columns", {}).get(column_name, {})
            options = {**recipe, **column, **row.get("options", {}), **here}
            options.pop("recipe", None)
            published = row.get("published", {}).get(column_name)
            goal = "report" if published is None else row.get("goal", "as good")
            gpu, quick = ({**table.get(key, {}), **row.get(key, {})} for key in ("gpu", "quick"))
            task = table.get("task", "train")
            cells.append(Cell(name, row_name, column_name, task, published, goal, options, gpu, quick))
    return Experiment(name, table["title"], table["source"], tuple(cells))


def choose_cells(experiments: Sequence[Experiment], names: Sequence[str]) -> list[Experiment]:
    """The experiments that have cells of the given names, with these alone; see `Experiment.choose`.

    ValueError for a name that none of them has.
    """
    chosen = [(experiment, [name for name in names if experiment.cells_of(name)]) for experiment in experiments]
    for name in names:
        if not any(name in known for _, known in chosen):
            cells = [cell.name for experiment in experiments for cell in experiment.cells]
            raise ValueError(f"cells: wanted some of {', '.join(cells)}; got {name!r}")
    return [replace(experiment, cells=experiment.choose(known)) for experiment, known in chosen if known]


def keep(record: dict[str, Any], file: Path) -> None:
    """Write a measurement, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _train(path: Path, options: dict[str, Any], console: Console, later: int) -> dict[str, Any]:
    run = RunFolder(path, Options.of({**options, "name": path.name, "out": str(path.parent)}))
    backbone = run.options.model.backbone
    if (path / "config.yaml").exists() and _what(RunFolder.open(path, backbone=backbone)) != _what(run):
        raise ValueError(f"out: wanted a run of the same options in {path}, got one of others; remove it")
    train(run, console, later)
    (record,) = run.results().values()
    return record


def _what(run: RunFolder) -> dict[str, Any]:
    """The options of a run but those of where and on what it runs."""
    places = ("name", "out", "accelerator", "devices", "num_nodes")
    return {name: value for name, value in run.options.flat().items() if name not in places}


def _colocalise(path: Path, options: dict[str, Any], console: Console) -> dict[str, Any]:
    how = dict(options)
    data, name = how.pop("data"), how.pop("class")
    started = time.monotonic()
    chosen = ColocaliseOptions(**how)
    begun_on = machine("cpu")
    result = colocalise(name, load(data).train, _encoder(data, chosen), chosen)
    console.print(f"{result.found[-1]:.0%} found", highlight=False)
    path.mkdir(parents=True, exist_ok=True)
    result.save(path / FOUND)
    return {
        "test_error": 100 * (1 - result.found[-1].item()),
        "epochs": chosen.epochs,
        "seconds": round(time.monotonic() - started, 1),
        "seed": chosen.seed,
        **begun_on,
    }


@lru_cache(2)
def _encoder(data: str, options: ColocaliseOptions) -> Encoder:
    """The encoder of all digits of a column, which is counted in the time of the first."""
    return train_encoder(load(data).train, options)
