"""`unwarp report`."""

from collections.abc import Sequence

from unwarp.cli.parser import Parser
from unwarp.cli.run_argument import add_run, open_run


def main(argv: Sequence[str]) -> None:
    """Write the HTML report and the filmstrip of a run."""
    parser = Parser(prog="unwarp report", description="Write report.html and filmstrip.gif into the folder of a run.")
    add_run(parser)
    run = open_run(parser.parse_args(list(argv)))

    from unwarp.report import write_report

    print(f"report: {write_report(run)}")
