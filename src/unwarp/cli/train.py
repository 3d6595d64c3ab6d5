"""`unwarp train`."""

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import yaml

from unwarp.cli.parser import Parser
from unwarp.tasks.options import DataOptions, Options
from unwarp.tasks.recipes import DEFAULT_RECIPE, FOLDER_RECIPE, recipe_path

# What a resumed run may change: what it runs on, not what it does.
_CHANGEABLE = ("accelerator", "devices", "num_nodes")
# Processes that Lightning starts beside the first must write to the folder that the first one chose.
_FOLDER_VARIABLE = "UNWARP_RUN_FOLDER"
# A file of options may come from a stranger.
_COMMAND_LINE_ONLY = {"backbone": "code to run", "config": "another file", "resume": "a run"}


def main(argv: Sequence[str]) -> None:
    """Train the models of a recipe, compare them, and write the report."""
    name, options, resume = _parse(list(argv))

    # Only now, so that --help and wrong use answer at once.
    from rich.console import Console

    from unwarp.report import results_table, write_report
    from unwarp.tasks.run_folder import RunFolder
    from unwarp.tasks.training import train

    started_by = os.environ.get(_FOLDER_VARIABLE)
    if started_by is not None or resume is not None:
        run = RunFolder.open(started_by or str(resume), backbone=options.model.backbone)
        run = replace(run, options=options)
    else:
        run = RunFolder.create(_new_folder(options, name), options)
    os.environ[_FOLDER_VARIABLE] = str(run.path)
    console = Console()
    try:
        finished = train(run, console)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; go on with: unwarp train --resume {run.path}") from None
    finally:
        os.environ.pop(_FOLDER_VARIABLE, None)
    if finished:
        console.print(results_table(run))
        console.print(f"report: {write_report(run)}", markup=False, highlight=False, soft_wrap=True)


def _new_folder(options: Options, recipe: str) -> Path:
    """A folder that is not there yet; a name that was asked for is taken as it is."""
    out = Path(options.run.out)
    if options.run.name is not None:
        return out / options.run.name
    if options.run.num_nodes > 1:
        raise ValueError("name: wanted one for a run on several machines, so that all of them use the same folder")
    count = 1
    while (out / (recipe if count == 1 else f"{recipe}-{count}")).exists():
        count += 1
    return out / (recipe if count == 1 else f"{recipe}-{count}")


def _parse(argv: list[str]) -> tuple[str, Options, Path | None]:
    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else None
    given = _parser().parse_args(_config_first(argv))
    if given.resume is not None:
        if recipe is not None:
            raise ValueError(f"resume: wanted no recipe with it, got {recipe}")
        return "", _resumed(given.resume, argv), Path(given.resume)
    if recipe is None:
        recipe = DEFAULT_RECIPE if given.data == DataOptions.data else FOLDER_RECIPE
    flat = _parser().parse_args(["--config", str(recipe_path(recipe)), *_config_first(argv)]).as_dict()
    options = Options.of({name: value for name, value in flat.items() if name not in ("config", "resume")})
    return recipe, options, None


def _parser(defaults: Options | None = None) -> Parser:
    parser = Parser(
        prog="unwarp train",
        usage="unwarp train [RECIPE] [OPTIONS]",
        description=(
            f"Train the models of a RECIPE (see unwarp recipes) and compare them. Without one it is {FOLDER_RECIPE} "
            f"if --data is given, else {DEFAULT_RECIPE}. Options override --config, which overrides the recipe."
        ),
    )
    parser.add_argument("--config", action="config", help="a YAML file of options")
    parser.add_argument("--resume", metavar="RUN", help="go on with the run in that folder")
    for group in fields(Options):
        parser.add_options(group.default_factory)  # pyright: ignore[reportArgumentType]
    if defaults is not None:
        parser.set_defaults(defaults.flat())
    return parser


def _config_first(argv: list[str]) -> list[str]:
    """The arguments with configuration files moved to the front: what is typed out overrides them."""
    configs, rest = [], []
    waiting = iter(argv)
    for argument in waiting:
        if argument == "--config":
            configs += [argument, *(value for value in [next(waiting, None)] if value is not None)]
        elif argument.startswith("--config="):
            configs.append(argument)
        else:
            rest.append(argument)
    for path in (value.removeprefix("--config=") for value in configs if value != "--config"):
        _check_config(path)
    return configs + rest


def _check_config(path: str) -> None:
    """Raise ValueError unless the file has options by name, and none that only the command line may give."""
    try:
        options = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"config: wanted a readable YAML file, got {path}: {error}") from error
    if not isinstance(options, dict):
        raise ValueError(f"config: wanted options by name in {path}, got {type(options).__name__}")
    for name, why in _COMMAND_LINE_ONLY.items():
        if options.get(name) is not None:
            raise ValueError(f"{name}: wanted on the command line only, as it names {why}; got it in {path}")


def _resumed(path: str, argv: list[str]) -> Options:
    """The options of an interrupted run; only what it runs on may change."""
    from unwarp.tasks.run_folder import RunFolder

    given = _parser().parse_args(argv)
    saved = RunFolder.open(path, backbone=given.backbone).options
    flat = _parser(saved).parse_args(argv).as_dict()
    options = Options.of({name: value for name, value in flat.items() if name not in ("config", "resume")})
    before = saved.flat()
    changed = [name for name, value in options.flat().items() if value != before[name] and name not in _CHANGEABLE]
    if changed:
        raise ValueError(f"resume: wanted the options that {path} was started with, got another {', '.join(changed)}")
    return options
