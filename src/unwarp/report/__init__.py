"""Reads a finished run and writes what a person looks at; never trains."""

from unwarp.report.page import write_report
from unwarp.report.table import results_table

__all__ = ["results_table", "write_report"]
