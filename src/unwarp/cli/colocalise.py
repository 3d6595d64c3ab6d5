"""`unwarp colocalise`."""

from collections.abc import Sequence
from dataclasses import fields

from unwarp.cli.parser import Parser
from unwarp.tasks.options import ColocaliseOptions


def main(argv: Sequence[str]) -> None:
    """Find digits without labels or boxes, a class at a time, and print the share found."""
    parser = Parser(
        prog="unwarp colocalise",
        description=(
            "Let a spatial transformer find, without labels or boxes, what pictures placed at random in 84×84 have in "
            "common (arXiv 1506.02025, section 4.5). Found is an overlap over 0.5 with the true box."
        ),
    )
    parser.add_argument("--data", default="mnist", help="pictures by class, as in unwarp train; brought to 28×28")
    parser.add_argument("--classes", help="comma-separated; all if not given")
    parser.add_argument("--out", default="runs/colocalisation", help="folder for results.json, CLASS.png and CLASS.npz")
    parser.add_options(ColocaliseOptions)
    given = parser.parse_args(list(argv))
    options = ColocaliseOptions(**{field.name: given[field.name] for field in fields(ColocaliseOptions)})

    # Only now, so that --help and wrong use answer at once.
    from pathlib import Path

    from unwarp.data import load
    from unwarp.report import search_of
    from unwarp.tasks.colocalise import SIZE, Colocalised, colocalise_all

    pictures = load(given.data, size=SIZE).train
    classes = pictures.classes if given.classes is None else tuple(given.classes.split(","))

    out = Path(given.out)

    def tell(name: str, result: Colocalised, seconds: float) -> None:
        search_of(result).savefig(out / f"{name}.png", dpi=110)
        print(f"{name}: {result.found[-1]:.0%} found in {seconds:.0f} s", flush=True)

    colocalise_all(classes, pictures, options, out, tell)
    print(f"results.json and what was shown after each epoch, as pictures: {out}")
