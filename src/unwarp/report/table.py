"""The results of a run in the terminal."""

from typing import Any

from rich.table import Table
from rich.text import Text

from unwarp.tasks.run_folder import RunFolder

COLUMNS = ("model", "parameters", "test error", "validation error", "epochs", "training time")


def result_row(model: str, record: dict[str, Any]) -> tuple[str, ...]:
    """One record in words, in the order of `COLUMNS`."""
    validation = record["validation_error"]
    minutes, seconds = divmod(round(record["seconds"]), 60)
    return (
        model,
        f"{record['parameters']:,}",
        f"{record['test_error']:.2f} %",
        "" if validation is None else f"{validation:.2f} %",
        str(record["epochs"]),
        f"{minutes} min {seconds:02d} s",
    )


def results_table(run: RunFolder) -> Table:
    """A table of the finished models of a run."""
    table = Table(title=Text(str(run.path)))
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if index == 0 else "right")
    for model, record in run.results().items():
        table.add_row(*result_row(model, record))
    return table
