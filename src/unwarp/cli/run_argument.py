"""The arguments with which commands name a finished run."""

from typing import TYPE_CHECKING

from jsonargparse import Namespace

from unwarp.cli.parser import Parser

if TYPE_CHECKING:
    from unwarp.tasks.run_folder import RunFolder


def add_run(parser: Parser) -> None:
    """Add RUN and --backbone."""
    parser.add_argument("run", metavar="RUN", help="the folder of a run, such as runs/digits-rts")
    parser.add_argument("--backbone", help="package.module:Class, if the run was trained with a network of your own")


def open_run(given: Namespace) -> "RunFolder":
    """The run that was named. ValueError if there is none."""
    from unwarp.tasks.run_folder import RunFolder

    return RunFolder.open(given.run, backbone=given.backbone)
