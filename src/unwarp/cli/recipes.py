"""`unwarp recipes`."""

from collections.abc import Sequence

from unwarp.cli.parser import Parser
from unwarp.tasks.recipes import recipe_names, recipe_path


def main(argv: Sequence[str]) -> None:
    """List the recipes with a line each."""
    parser = Parser(prog="unwarp recipes", description="List the ready-made configurations of unwarp train.")
    parser.parse_args(list(argv))
    names = recipe_names()
    width = max(map(len, names))
    for name in names:
        first = recipe_path(name).read_text(encoding="utf-8").partition("\n")[0]
        print(f"{name:<{width}}  {first.removeprefix('# ')}")
