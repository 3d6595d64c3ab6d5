"""`unwarp reproduce`."""

from collections.abc import Sequence
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
        "--cells", nargs="+", metavar="ROW/COLUMN", help="some cells, whole rows or columns; all without"
    )
    parser.add_argument("--data", metavar="PATH", help="the folder of pictures, for tables that say FOLDER")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds of each cell, from 0")
    parser.add_argument("--quick", action="store_true", help="the quick setting of each; its figures are kept apart")
    parser.add_argument(
        "--accelerator",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="what to train on; co-localisation takes the CPU",
    )
    parser.add_argument("--results", default="results", metavar="DIR", help="where figures are kept")
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
    from unwarp.tasks.experiments import choose_cells, experiment_names, keep, load_experiment

    names = experiment_names() if given.experiment is None else (given.experiment,)
    experiments = [load_experiment(name) for name in names]
    if given.cells is not None:
        experiments = choose_cells(experiments, given.cells)
    results, out = (Path(path, *(["quick"] if given.quick else [])) for path in (given.results, given.out))
    console = Console()
    cells = [cell for experiment in experiments for cell in experiment.cells]
    if given.all and given.data is None and not given.list:
        by_hand = dict.fromkeys(cell.experiment for cell in cells if cell.needs_folder)
        cells = [cell for cell in cells if not cell.needs_folder]
        for name in by_hand:
            console.print(f"{name} left out: its pictures are fetched by hand, and named with --data", highlight=False)
    jobs = [(cell, seed) for cell in cells for seed in range(given.seeds) if not (results / cell.file(seed)).exists()]
    how = {"quick": given.quick, "accelerator": given.accelerator}
    # A co-localisation, of a minute, counts for nothing.
    epochs = [cell.options_on(given.accelerator, quick=given.quick).get("epochs", 0) for cell, _ in jobs]
    for index, (cell, seed) in enumerate([] if given.list else jobs):
        console.print(f"{cell.experiment} {cell.name}, seed {seed}: {index + 1} of {len(jobs)}", highlight=False)
        data = None if given.all and not cell.needs_folder else given.data
        try:
            record = cell.run(out, seed, console, data=data, later=sum(epochs[index + 1 :]), **how)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted; the same command goes on") from None
        keep(record, results / cell.file(seed))
    # A page shows a table whole; asked for some cells, the list shows those.
    for experiment in experiments if given.list else map(load_experiment, names):
        records = experiment.records(results)
        console.print(experiment_table(experiment, records))
        if not given.list:
            console.print(
                f"pictures: {write_experiment(experiment, records, out)}", markup=False, highlight=False, soft_wrap=True
            )
