"""Reads a finished run and writes what a person looks at; never trains."""

from unwarp.report.experiment import experiment_markdown, experiment_table, search_of, write_experiment
from unwarp.report.page import write_report
from unwarp.report.table import results_table

__all__ = ["experiment_markdown", "experiment_table", "results_table", "search_of", "write_experiment", "write_report"]
