"""`unwarp recipes`, and where recipes are found."""

from collections.abc import Sequence
from pathlib import Path

import unwarp
from unwarp.cli.parser import Parser

DEFAULT_RECIPE, FOLDER_RECIPE = "digits-rts", "folder"
_FOLDER = Path(unwarp.__file__).parent / "recipes"


def main(argv: Sequence[str]) -> None:
    """List the recipes with a line each."""
    parser = Parser(prog="unwarp recipes", description="List the ready-made configurations of unwarp train.")
    parser.parse_args(list(argv))
    names = recipe_names()
    width = max(map(len, names))
    for name in names:
        first = recipe_path(name).read_text().partition("\n")[0]
        print(f"{name:<{width}}  {first.removeprefix('# ')}")


def recipe_names() -> tuple[str, ...]:
    """Every recipe, the default one first."""
    return tuple(
        sorted((file.stem for file in _FOLDER.glob("*.yaml")), key=lambda name: (name != DEFAULT_RECIPE, name))
    )


def recipe_path(name: str) -> Path:
    """The file of a recipe. ValueError if there is none of that name."""
    if name not in recipe_names():
        raise ValueError(f"recipe: wanted one of {', '.join(recipe_names())}; got {name!r}")
    return _FOLDER / f"{name}.yaml"
