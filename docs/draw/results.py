"""docs/results.md, from the measurements in docs/results/.

python docs/draw/results.py            writes it
python docs/draw/results.py --check    fails if it is not there already
"""

import argparse
import sys
from pathlib import Path

from unwarp.report import experiment_markdown
from unwarp.tasks.experiments import experiment_names, load_experiment

DOCS = Path(__file__).parents[1]
PAGE, RESULTS = DOCS / "results.md", DOCS / "results"
INTRODUCTION = """\
# Results

What was truly run, from the files in [results/](results/), which hold seed, time, machine, versions, commit and
options of each run; this page is written by `python docs/draw/results.py`. The command above a table trains a cell of
it, with `--cells CELL` and `--seeds N`, as its recipe is today; where recipes have changed since, the options in a
file, and its epochs here, are those it was measured with ([lab book](log.md)).

Errors are in percent of the test pictures, distorted with a fixed seed: once, or, where there are fewer than 1,000, a
few times. Weights are those with the least validation error (with few labels those at the end, as there are none to
choose by), and the test pictures were read once, at the end. Means over seeds, which follow in brackets; ✗
marks a mean that misses the published figure. One standard deviation of an error of 0.7 % on 10,000 pictures is 0.08
%. Minutes are those of training alone; runs on 1 thread shared the machine with other work, those on the H100 with
about ten others, so that their times are upper bounds, some far too high.

Training pictures of R, RTS and P are bent at random besides (`bend` in the files), which the papers do not say of
theirs; all networks of a column are given the same. Batch normalisation (`normalize` in the files) not all of them
have: in column R `st-cnn-affine` does and `cnn`, measured earlier, does not.

Of the signs a track of ten frames is one sign, and frames, not tracks, are put aside for validation: their validation
errors, of 0.1 to 0.2 %, say little, and chose little. The test pictures are tracks of their own.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    wanted = page()
    if parser.parse_args().check:
        current = PAGE.read_text(encoding="utf-8") == wanted
        if not current:
            print("docs/results.md is not what docs/results/ says: run docs/draw/results.py", file=sys.stderr)
        return int(not current)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


def page() -> str:
    """The whole page."""
    tables = [load_experiment(name) for name in experiment_names()]
    sections = [experiment_markdown(table, table.records(RESULTS)) for table in tables]
    return "\n".join([INTRODUCTION, *sections])


if __name__ == "__main__":
    sys.exit(main())
