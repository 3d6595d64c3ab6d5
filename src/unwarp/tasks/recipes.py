"""Where recipes are found: YAML files with what a run differs in from the defaults."""

from pathlib import Path
from typing import Any

import yaml

import unwarp

DEFAULT_RECIPE, FOLDER_RECIPE = "digits-rts", "folder"
RECIPES = Path(unwarp.__file__).parent / "recipes"


def recipe_names() -> tuple[str, ...]:
    """Every recipe, the default one first."""
    names = (file.stem for file in RECIPES.glob("*.yaml"))
    return tuple(sorted(names, key=lambda name: (name != DEFAULT_RECIPE, name)))


def recipe_path(name: str) -> Path:
    """The file of a recipe. ValueError if there is none of that name."""
    if name not in recipe_names():
        raise ValueError(f"recipe: wanted one of {', '.join(recipe_names())}; got {name!r}")
    return RECIPES / f"{name}.yaml"


def recipe_options(name: str) -> dict[str, Any]:
    """The options that a recipe sets. ValueError if there is none of that name."""
    return yaml.safe_load(recipe_path(name).read_text(encoding="utf-8")) or {}
