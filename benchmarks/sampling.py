"""How fast is a warp? Ours against torch, kornia, MONAI, deepali, torch-interpol, OpenCV and SciPy, in one run.

    python -m benchmarks.sampling [--threads N] [--seconds S] [--cases NAME,NAME] [--compiled]

Prints a table and writes it, with the machine and the versions, to benchmarks/results/. All contestants compute the
same numbers, which is checked first. Beside each forward pass stands a copy of the image, the limit of any of them.
"""

import argparse
import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import unwarp
from benchmarks.contestants import DIFFERENTIABLE, Warp, contestants
from benchmarks.timing import medians
from unwarp.sampling import cpu
from unwarp.tasks.machine import machine

RESULTS = Path(__file__).parent / "results"
CASES = {
    "digits": (256, 1, 42, 42),
    "features": (32, 64, 28, 28),
    "pictures": (8, 3, 224, 224),
    "picture 1024²": (1, 3, 1024, 1024),
    "picture 4096²": (1, 3, 4096, 4096),
    "volume 96³": (1, 1, 96, 96, 96),
    "volume 96³ × 4": (1, 4, 96, 96, 96),
    "volume 128³": (1, 1, 128, 128, 128),
    "volume 160×192×224": (1, 1, 160, 192, 224),
}
WORKLOADS = ("forward", "theta", "theta and image", "grid", "grid and image")
PACKAGES = ("torch", "kornia", "monai", "hf-deepali", "torch-interpol", "scipy", "opencv-python-headless")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=2.0, help="per case and workload")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated")
    parser.add_argument("--compiled", action="store_true", help="torch.compile as well; takes minutes to compile")
    arguments = parser.parse_args()
    names = arguments.cases.split(",")
    for name in names:
        if name not in CASES:
            parser.error(f"--cases: wanted some of {', '.join(CASES)}; got {name!r}")
    torch.set_num_threads(arguments.threads)

    rows = []
    for name in names:
        for workload in WORKLOADS:
            calls = _calls(CASES[name], workload, arguments.compiled)
            seconds = medians(calls, seconds=arguments.seconds)
            rows.append({"case": name, "shape": CASES[name], "workload": workload, "seconds": seconds})
            print(_line(rows[-1]), flush=True)

    about = machine() | {"kernels": cpu.chosen(), "versions": {name: _version(name) for name in PACKAGES}}
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"sampling-cpu-{arguments.threads}"
    stem.with_suffix(".json").write_text(json.dumps({"machine": about, "rows": rows}, indent=1, ensure_ascii=False))
    stem.with_suffix(".md").write_text(_markdown(about, rows))
    print(f"written: {stem}.json, {stem}.md")


def _calls(shape: tuple[int, ...], workload: str, compiled: bool) -> dict[str, Callable[[], Any]]:
    torch.manual_seed(0)
    ndim = len(shape) - 2
    image = torch.rand(shape)
    matrix = torch.eye(ndim, ndim + 1).repeat(shape[0], 1, 1) + 0.1 * torch.randn(shape[0], ndim, ndim + 1)
    grad = torch.rand(shape)
    if workload.startswith("grid"):
        grid = F.affine_grid(matrix, list(shape), align_corners=False)
        return {
            "unwarp": _run(lambda i, g: unwarp.sample(i, g), image, grid, grad, workload),
            "torch": _run(lambda i, g: F.grid_sample(i, g, align_corners=False), image, grid, grad, workload),
        }
    calls: dict[str, Callable[[], Any]] = {}
    wanted = contestants(ndim, compiled=compiled)
    if shape[1] > 4:
        wanted.pop("opencv", None)  # interpolates more channels than 4 with coarser weights
    reference = wanted["torch"](image, matrix)
    for name, warp in wanted.items():
        if workload != "forward" and name not in DIFFERENTIABLE:
            continue
        # The one layout in which OpenCV reads a picture; all others are given theirs.
        source = image.contiguous(memory_format=torch.channels_last) if name == "opencv" else image
        error = (warp(source, matrix) - reference).abs().mean().item()
        if error > 1e-3:
            raise RuntimeError(f"{name} computes something else: mean difference {error:.2g} on {shape}")
        calls[name] = _run(warp, source, matrix, grad, workload)
    if workload == "forward":
        out = torch.empty_like(image)
        calls["copy"] = lambda: out.copy_(image)
    return calls


def _run(warp: Warp, image: Tensor, coordinates: Tensor, grad: Tensor, workload: str) -> Callable[[], Any]:
    if workload in ("forward", "grid"):
        return lambda: warp(image, coordinates)

    def step() -> None:
        leaves = [coordinates.detach().requires_grad_()]
        picture = image
        if workload.endswith("image"):
            picture = image.detach().requires_grad_()
            leaves.append(picture)
        torch.autograd.grad(warp(picture, leaves[0]), leaves, grad)

    return step


def _line(row: dict[str, Any]) -> str:
    ours = row["seconds"]["unwarp"]
    others = "  ".join(f"{name} ×{s / ours:.2g}" for name, s in row["seconds"].items() if name != "unwarp")
    return f"{row['case']:<24} {row['workload']:<16} {1000 * ours:9.3f} ms   {others}"


def _markdown(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row["seconds"] if name != "unwarp"))
    lines = [
        f"Milliseconds of unwarp, and how many times as long the others take. {about['machine']}, {about['threads']} "
        f"threads, {about['kernels']}, torch {about['torch']}, commit {about['commit']}; medians of interleaved calls.",
        "",
        "| case | work | unwarp, ms | " + " | ".join(names) + " |",
        "|---|---|--:|" + "--:|" * len(names),
    ]
    for row in rows:
        ours = row["seconds"]["unwarp"]
        ratios = [f"{row['seconds'][name] / ours:.2g}×" if name in row["seconds"] else "" for name in names]
        lines.append(f"| {row['case']} | {row['workload']} | {1000 * ours:.3g} | " + " | ".join(ratios) + " |")
    return "\n".join(lines) + "\n"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
