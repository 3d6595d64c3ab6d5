"""How fast is a warp? Ours against torch, kornia, MONAI, deepali, torch-interpol, OpenCV and SciPy, in one run.

    python -m benchmarks.sampling [--threads N] [--seconds S] [--cases NAME,NAME] [--compiled] [--device cuda]

Prints a table and writes it, with the machine and the versions, to benchmarks/results/. All contestants compute the
same numbers, which is checked first. Beside each forward pass stand a copy of the image, the limit of any of them, and
"reads": a plain loop in C that sums the pixels around every sample, whose places it is given.
"""

import argparse
import json
import re
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import unwarp
from benchmarks.contestants import DIFFERENTIABLE, Warp, contestants
from benchmarks.gather import reads
from benchmarks.timing import medians
from unwarp.sampling import cpu
from unwarp.tasks.machine import machine

RESULTS = Path(__file__).parent / "results"


class Case(NamedTuple):
    """An image, and the kind of warp it goes through; the output has its size if nothing else is said."""

    shape: tuple[int, ...]
    kind: str = "affine"
    size: tuple[int, ...] | None = None
    channels_last: bool = False


CASES = {
    "digits": Case((256, 1, 42, 42)),
    "features": Case((32, 64, 28, 28)),
    "features channels-last": Case((32, 64, 28, 28), channels_last=True),
    "pictures": Case((8, 3, 224, 224)),
    "pictures channels-last": Case((8, 3, 224, 224), channels_last=True),
    "picture 1024²": Case((1, 3, 1024, 1024)),
    "picture 4096²": Case((1, 3, 4096, 4096)),
    "volume 96³": Case((1, 1, 96, 96, 96)),
    "volume 96³ × 4": Case((1, 4, 96, 96, 96)),
    "volume 128³": Case((1, 1, 128, 128, 128)),
    "volume 160×192×224": Case((1, 1, 160, 192, 224)),
    "16 crops each": Case((8, 3, 224, 224), "crops", (32, 32)),
    "homographies": Case((8, 3, 224, 224), "homography"),
    "thin-plate splines": Case((8, 3, 224, 224), "spline"),
    "shrunk 4×": Case((8, 3, 896, 896), "shrink", (224, 224)),
    "lines": Case((64, 4, 16384)),
    "pictures as B-splines": Case((8, 3, 224, 224), "B-spline"),
    "volume 96³ as B-splines": Case((1, 1, 96, 96, 96), "B-spline"),
}
WORKLOADS = ("forward", "theta", "theta and image", "grid", "grid and image")
PACKAGES = ("torch", "kornia", "monai", "hf-deepali", "torch-interpol", "scipy", "opencv-python-headless")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=2.0, help="per case and workload")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated")
    parser.add_argument("--compiled", action="store_true", help="torch.compile as well; takes minutes to compile")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: against torch alone")
    arguments = parser.parse_args()
    names = arguments.cases.split(",")
    for name in names:
        if name not in CASES:
            parser.error(f"--cases: wanted some of {', '.join(CASES)}; got {name!r}")
    torch.set_num_threads(arguments.threads)

    rows = []
    for name in names:
        for workload in WORKLOADS:
            if workload.startswith("grid") and (CASES[name].kind != "affine" or len(CASES[name].shape) == 3):
                continue  # a grid is a grid, wherever it came from; torch has none for lines
            calls = _calls(CASES[name], workload, arguments.compiled, torch.device(arguments.device))
            seconds = medians(calls, seconds=arguments.seconds)
            rows.append({"case": name, "shape": CASES[name].shape, "workload": workload, "seconds": seconds})
            print(_line(rows[-1]), flush=True)

    on_gpu = arguments.device == "cuda"
    kernels = f"Triton on {torch.cuda.get_device_name()}" if on_gpu else cpu.chosen()
    about = machine(arguments.device) | {"kernels": kernels, "versions": {name: _version(name) for name in PACKAGES}}
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / (
        "sampling-cuda" if on_gpu else f"sampling-{kernels}-{arguments.threads}-{_slug(about['machine'])}"
    )
    figures = json.dumps({"machine": about, "rows": rows}, indent=1, ensure_ascii=False)
    stem.with_suffix(".json").write_text(figures, encoding="utf-8")
    stem.with_suffix(".md").write_text(_markdown(about, rows), encoding="utf-8")
    print(f"written: {stem}.json, {stem}.md")


def _calls(case: Case, workload: str, compiled: bool, device: torch.device) -> dict[str, Callable[[], Any]]:
    torch.manual_seed(0)
    ndim = len(case.shape) - 2
    size = case.size or case.shape[2:]
    image = torch.rand(case.shape).to(device)
    if case.channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    coordinates = _coordinates(case).to(device)
    grad = torch.rand(*coordinates.shape[: 2 if case.kind == "crops" else 1], case.shape[1], *size).to(device)
    if workload.startswith("grid"):
        grid = F.affine_grid(coordinates, list(case.shape), align_corners=False)
        return {
            "unwarp": _run(lambda i, g, _: unwarp.sample(i, g), image, grid, size, grad, workload),
            "torch": _run(lambda i, g, _: F.grid_sample(i, g, align_corners=False), image, grid, size, grad, workload),
        }
    calls: dict[str, Callable[[], Any]] = {}
    if device.type == "cuda" and workload == "theta and image":
        step = _run(contestants(case.kind, ndim, compiled=False)["unwarp"], image, coordinates, size, grad, workload)
        calls["unwarp, deterministic"] = lambda: _deterministic(step)
    wanted = contestants(case.kind, ndim, compiled=compiled)
    if device.type == "cuda":
        wanted = {name: wanted[name] for name in ("unwarp", "torch", "torch compiled") if name in wanted}
    if case.shape[1] > 4:
        wanted.pop("opencv", None)  # interpolates more channels than 4 with coarser weights
    reference = wanted.get("torch", wanted["unwarp"])(image, coordinates, size)
    for name, warp in wanted.items():
        if workload != "forward" and name not in DIFFERENTIABLE:
            continue
        # The one layout in which OpenCV reads a picture; all others are given theirs.
        source = image.contiguous(memory_format=torch.channels_last) if name == "opencv" else image
        error = (warp(source, coordinates, size) - reference).abs().mean().item()
        # Means over footprints may be taken from more or fewer samples.
        if error > (0.01 if case.kind == "shrink" else 0.001):
            raise RuntimeError(f"{name} computes something else: mean difference {error:.2g} on {case}")
        calls[name] = _run(warp, source, coordinates, size, grad, workload)
    if workload == "forward":
        out = torch.empty_like(image)
        calls["copy"] = lambda: out.copy_(image)
        if case.kind == "affine" and device.type == "cpu":
            calls["reads"] = reads(image, coordinates)
    return calls


def _coordinates(case: Case) -> Tensor:
    """Maps near the identity: what the contestants of this kind of warp are given."""
    count, ndim = case.shape[0], len(case.shape) - 2
    if case.kind == "spline":
        spline = unwarp.ThinPlateSpline((4, 4))
        return spline.identity + 0.1 * torch.randn(count, spline.num_params)
    if case.kind == "crops":
        return 0.15 * torch.eye(2, 3) + 0.03 * torch.randn(count, 16, 2, 3)
    matrix = torch.eye(ndim, ndim + 1) + 0.1 * torch.randn(count, ndim, ndim + 1)
    if case.kind == "homography":
        matrix = F.pad(matrix, (0, 0, 0, 1)) + F.pad(0.05 * torch.randn(count, 1, 2), (0, 1, 2, 0))
        matrix[:, 2, 2] = 1
    return matrix


def _run(
    warp: Warp, image: Tensor, coordinates: Tensor, size: Sequence[int], grad: Tensor, workload: str
) -> Callable[[], Any]:
    if workload in ("forward", "grid"):
        return lambda: warp(image, coordinates, size)
    # As the next layer of a network hands it back: in the layout of what was read.
    grad = torch.empty_like(warp(image, coordinates, size)).copy_(grad)

    def step() -> None:
        leaves = [coordinates.detach().requires_grad_()]
        picture = image
        if workload.endswith("image"):
            picture = image.detach().requires_grad_()
            leaves.append(picture)
        torch.autograd.grad(warp(picture, leaves[0], size), leaves, grad)

    return step


def _deterministic(step: Callable[[], Any]) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        step()
    finally:
        torch.use_deterministic_algorithms(False)


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


def _slug(name: str) -> str:
    """A processor's name as a part of a file's."""
    return "-".join(re.findall(r"[a-z0-9]+", re.sub(r"\((r|tm)\)|processor|cpu|@.*", " ", name.lower())))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
