"""How much memory does a warp take? Ours against torch, each in a process of its own, on Linux.

    python -m benchmarks.memory

Forward and backward through a volume of 160×192×224 voxels by an affine matrix, with gradients of both. Counts what the
peak of the process rises by, less the output and the gradients, in percent of the volume.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.contestants import Warp, contestants
from unwarp.tasks.machine import machine

RESULT = Path(__file__).parent / "results" / "memory-cpu.json"
SIZE = (160, 192, 224)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", choices=("unwarp", "torch"), help="measure in this process, and print the bytes")
    arguments = parser.parse_args()
    if arguments.one:
        print(extra_bytes(arguments.one))
        return
    volume = 4 * torch.Size(SIZE).numel()
    percent = {}
    for name in ("unwarp", "torch"):
        command = [sys.executable, "-m", "benchmarks.memory", "--one", name]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        percent[name] = round(100 * int(answer.stdout) / volume, 1)
        print(f"{name}: {percent[name]} % of the volume beyond the output and the gradients")
    RESULT.write_text(
        json.dumps({"machine": machine("cpu"), "size": SIZE, "percent": percent}, indent=1) + "\n", encoding="utf-8"
    )


def extra_bytes(name: str) -> int:
    """Bytes that a warp and its gradients take beyond the output and the gradients."""
    warp = contestants("affine", 3, compiled=False)[name]
    torch.manual_seed(0)
    _step(warp, *_inputs((16, 16, 16)))  # loads all that is loaded on first use
    image, matrix, grad = _inputs(SIZE)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    results = _step(warp, image, matrix, grad)
    peak = _status("VmHWM")
    return peak - before - sum(result.nbytes for result in results)


def _inputs(size: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    image = torch.rand(1, 1, *size, requires_grad=True)
    matrix = (torch.eye(3, 4) + 0.05 * torch.randn(1, 3, 4)).requires_grad_()
    return image, matrix, torch.rand(1, 1, *size)


def _step(warp: Warp, image: torch.Tensor, matrix: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    out = warp(image, matrix, image.shape[2:])
    return out, *torch.autograd.grad(out, (image, matrix), grad)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    main()
