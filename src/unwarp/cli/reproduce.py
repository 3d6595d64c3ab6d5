"""`unwarp reproduce`."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unwarp.cli.parser import Parser


def main(argv: Sequence[str]) -> None:
    """Run what is missing of a published table, and show it beside what was published."""
    parser = Parser(
        prog="unwarp reproduce",
        description=(
            "Train what is missing of a published table, cell by cell in the order of interest, and show it beside "
            "what was published. Ctrl-C loses nothing: the same command goes on."
        ),
    )
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="a table of --list")
    parser.add_argument("--all", action="store_true", help="every table")
    parser.add_argument("--list", action="store_true", help="show the tables and what is there of them; run nothing")
    parser.add_argument(
        "--cells", nargs="+", metavar="ROW/COLUMN", help="some cells, whole rows or columns (default: all)"
    )
    parser.add_argument("--data", metavar="PATH", help="the folder of pictures, for tables that say FOLDER")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds of each cell, from 0 (default: 1)")
    parser.add_argument("--quick", action="store_true", help="the quick setting of each; its figures are kept apart")
    parser.add_argument(
        "--accelerator", choices=("auto", "cpu", "gpu"), default="auto", help="what to train on (default: auto)"
    )
    parser.add_argument("--results", default="results", metavar="DIR", help="where figures are kept (default: results)")
    parser.add_argument("--out", default="runs/reproduce", metavar="DIR", help="where runs are kept")
    given = parser.parse_args(list(argv))
    if given.seeds < 1:
        raise ValueError(f"seeds: wanted at least 1, got {given.seeds}")
    if given.experiment is not None and given.all:
        raise ValueError(f"experiment: wanted none with --all, got {given.experiment}")
    if given.experiment is None and not (given.all or given.list):
        raise ValueError("experiment: wanted one of --list, or --all; got none")

    # Only now, so that --help and wrong use answer at once.
    from rich.console import Console

    from unwarp.report import experiment_table, write_experiment
    from unwarp.tasks.experiments import experiment_names, keep, load_experiment

    names = experiment_names() if given.experiment is None else (given.experiment,)
    experiments = [load_experiment(name) for name in names]
    if given.cells is not None:
        experiments = [replace(experiment, cells=experiment.choose(given.cells)) for experiment in experiments]
    results, out = (Path(path, *(["quick"] if given.quick else [])) for path in (given.results, given.out))
    console = Console()
    jobs = [
        (cell, seed)
        for experiment in experiments
        for cell in experiment.cells
        for seed in range(given.seeds)
        if not (results / cell.file(seed)).exists()
    ]
    times: list[float] = []
    for index, (cell, seed) in enumerate([] if given.list else jobs):
        left = f", about {statistics.mean(times) * (len(jobs) - index) / 60:.0f} min left" if times else ""
        console.print(f"{cell.experiment} {cell.name}, seed {seed}: {index + 1} of {len(jobs)}{left}", highlight=False)
        try:
            record = cell.run(out, seed, console, quick=given.quick, data=given.data, accelerator=given.accelerator)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted; the same command goes on") from None
        keep(record, results / cell.file(seed))
        times.append(record["seconds"])
    for experiment in map(load_experiment, names):
        records = experiment.records(results)
        console.print(experiment_table(experiment, records))
        if not given.list:
            console.print(f"pictures: {write_experiment(experiment, records, out)}", highlight=False, soft_wrap=True)
