"""The README's table of speed, from the stored figures.

python -m benchmarks.summary            puts it into README.md
python -m benchmarks.summary --check    fails if it is not there already
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
FIGURES = Path(__file__).parent / "results" / "sampling-cpu-2.json"
BEGIN, END = "<!-- speed: written by python -m benchmarks.summary -->", "<!-- end of speed -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    readme = README.read_text()
    wanted = with_table(readme, json.loads(FIGURES.read_text()))
    if arguments.check:
        if readme != wanted:
            print("README.md: the table of speed is not that of the stored figures", file=sys.stderr)
        return int(readme != wanted)
    README.write_text(wanted)
    return 0


def with_table(readme: str, figures: dict[str, Any]) -> str:
    """The README with its table of speed made anew."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{_table(figures)}{END}{after}"


def _table(figures: dict[str, Any]) -> str:
    cases: dict[str, dict[str, dict[str, float]]] = {}
    for row in figures["rows"]:
        cases.setdefault(f"{row['case']} {tuple(row['shape'])}", {})[row["workload"]] = row["seconds"]
    lines = [
        "| float32, linear | forward | with the gradient of θ | and of the image | forward: kornia, OpenCV, SciPy |",
        "|---|--:|--:|--:|--:|",
    ]
    for case, workloads in cases.items():
        ratios = [_ratio(workloads[name], "torch") for name in ("forward", "theta", "theta and image")]
        others = ", ".join(_ratio(workloads["forward"], name) for name in ("kornia", "opencv", "scipy"))
        lines.append(f"| {case} | {' | '.join(ratios)} | {others} |")
    return "\n".join(lines) + "\n"


def _ratio(seconds: dict[str, float], other: str) -> str:
    return f"{seconds[other] / seconds['unwarp']:.2g}×" if other in seconds else "–"


if __name__ == "__main__":
    sys.exit(main())
