"""The parser that all commands share."""

import sys
from dataclasses import fields
from typing import Any, NoReturn, get_type_hints

from jsonargparse import ActionYesNo, ArgumentParser


class Parser(ArgumentParser):
    """A jsonargparse parser whose errors are one line and exit code 2, and whose options are written out."""

    def __init__(self, **how: Any) -> None:
        super().__init__(allow_abbrev=False, **how)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:  # noqa: D102
        print(f"{self.prog}: {' '.join(message.split())} (--help lists the options)", file=sys.stderr)
        raise SystemExit(2)

    def add_options(self, group: type) -> None:
        """Add an option for each field of a dataclass made with `unwarp.tasks.options.option`."""
        section = self.add_argument_group((group.__doc__ or "").rstrip("."))
        hints = get_type_hints(group)
        for field in fields(group):
            kind: Any = hints[field.name]
            how: dict[str, Any] = {"action": ActionYesNo(no_prefix="no-")} if kind is bool else {"type": kind}
            flag = "--" + field.name.replace("_", "-")
            section.add_argument(flag, **how, default=field.default, help=field.metadata["help"])
