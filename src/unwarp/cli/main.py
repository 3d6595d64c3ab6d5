"""`unwarp`: a lazy table of commands, and what their failures look like."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "train": "train networks with and without spatial transformers on pictures, and compare them",
    "reproduce": "run published experiments cell by cell, and show the table",
    "recipes": "list the ready-made configurations of train",
    "evaluate": "measure a trained run on its test pictures",
    "align": "put pictures in canonical pose with a trained run",
    "report": "write the HTML report of a run",
    "colocalise": "find what pictures have in common, without labels",
    "info": "show versions, devices and kernels",
}

USAGE_ERROR, FAILURE, INTERRUPTED = 2, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a failure, 2 for wrong use, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from unwarp import __version__

        print(f"unwarp {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        return _complain(f"wanted a command, one of {', '.join(COMMANDS)}; got {name!r}", USAGE_ERROR)
    if "OMP_WAIT_POLICY" not in os.environ:
        # Read when torch is imported. GNU's threads wait for each other for milliseconds without letting go of the
        # processor, so that two trainings side by side hardly get on.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        import_module(f"unwarp.cli.{name}").main(rest)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt as stop:
        return _complain(str(stop) or "interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # so that the interpreter does not complain on its way out
        return FAILURE
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, ModuleNotFoundError) and "pip install" not in str(error):
            missing = f'{error.name}: wanted for unwarp {name}, got no such module; pip install "unwarp[train]"'
            return _complain(missing, FAILURE)
        code = USAGE_ERROR if isinstance(error, ValueError) else FAILURE
        return _complain(_one_line(error), code)
    return 0


def _complain(message: str, code: int) -> int:
    print(f"unwarp: {message}", file=sys.stderr)
    return code


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text} (--debug shows where)"


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "usage: unwarp COMMAND [OPTIONS]\n\n"
        "Spatial transformers: networks that learn to undo the pose of what they see.\n\n"
        f"{lines}\n\n"
        "unwarp COMMAND --help tells more; --debug shows the traceback of a failure."
    )


if __name__ == "__main__":
    sys.exit(main())
