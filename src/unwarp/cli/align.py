"""`unwarp align`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from unwarp.cli.parser import Parser
from unwarp.cli.run_argument import add_run, open_run


def main(argv: Sequence[str]) -> None:
    """Write pictures in canonical pose, and a table of what was done to them."""
    parser = Parser(
        prog="unwarp align",
        description="Put pictures in canonical pose, at full resolution, and write transforms.csv beside them.",
    )
    add_run(parser)
    parser.add_argument("pictures", nargs="+", metavar="PICTURES", help="picture files, or folders of them")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--model", help="which model of the run; its last one with a spatial transformer if not given")
    parser.add_argument("--strict", action="store_true", help="fail on an unreadable picture instead of skipping it")
    given = parser.parse_args(list(argv))
    run = open_run(given)
    trained = [name for name in run.models if "st-" in name]
    name = given.model or (trained[-1] if trained else "")
    if name not in trained:
        wanted = ", ".join(trained) or "a run with a spatial transformer (st-...)"
        raise ValueError(f"model: wanted {wanted}; got {name or ', '.join(run.models)}")

    from unwarp.tasks.align import align_pictures
    from unwarp.tasks.training import load_best

    out = Path(given.out)
    image_shape, classes = run.interface()
    left_out = align_pictures(
        load_best(run, name),
        given.pictures,
        out,
        image_shape=image_shape,
        classes=classes,
        strict=given.strict,
        complain=lambda line: print(line, file=sys.stderr),
    )
    print(f"straightened pictures and transforms.csv: {out}" + (f"; {left_out} left out" if left_out else ""))
