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
FIGURES = [Path(__file__).parent / "results" / f"sampling-avx512-2-{name}.json" for name in ("amd-epyc", "intel-xeon")]
WORKLOADS = ("forward", "theta", "theta and image")
BEGIN, END = "<!-- speed: written by python -m benchmarks.summary -->", "<!-- end of speed -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    readme = README.read_text(encoding="utf-8")
    wanted = with_table(readme, [json.loads(path.read_text(encoding="utf-8")) for path in FIGURES])
    if arguments.check:
        if readme != wanted:
            print("README.md: the table of speed is not that of the stored figures", file=sys.stderr)
        return int(readme != wanted)
    README.write_text(wanted, encoding="utf-8")
    return 0


def with_table(readme: str, figures: list[dict[str, Any]]) -> str:
    """The README with its table of speed made anew."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{_table(figures)}{END}{after}"


def _table(figures: list[dict[str, Any]]) -> str:
    machines = [f"{run['machine']['kernels'].upper()}, {run['machine']['machine']}" for run in figures]
    lines = [
        f"| float32, linear | {' | | | '.join(machines)} | | |",
        "|---" + "|--:" * len(WORKLOADS) * len(figures) + "|",
        "| | " + " | ".join(["forward", "with the gradient of θ", "and of the image"] * len(figures)) + " |",
    ]
    ratios = [
        {(_case(row), row["workload"]): _ratio(row["seconds"], "torch") for row in run["rows"]} for run in figures
    ]
    against_torch = (row for run in figures for row in run["rows"] if "torch" in row["seconds"])
    for case in dict.fromkeys(map(_case, against_torch)):
        cells = [of_run.get((case, workload), "–") for of_run in ratios for workload in WORKLOADS]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _case(row: dict[str, Any]) -> str:
    return f"{row['case']} {tuple(row['shape'])}"


def _ratio(seconds: dict[str, float], other: str) -> str:
    return f"{seconds[other] / seconds['unwarp']:.2g}×" if other in seconds else "–"


if __name__ == "__main__":
    sys.exit(main())
