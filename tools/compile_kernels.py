"""Compile the kernels for GPUs, without a GPU: `python tools/compile_kernels.py [--arch 90] [--most]`.

Every launch of `unwarp.sampling.gpu.launch` is made on tensors of the CPU, and stops once its kernel is compiled to
machine code; prints a line for each: its registers, its stack (what does not fit them), its shared memory, the time.
"""

import argparse
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

from unwarp.sampling.gpu import launch

_DUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


class Case(NamedTuple):
    """What kernels are compiled for."""

    ndim: int
    mode: str = "linear"
    kind: str = "affine"
    padding: str = "zeros"
    dtype: torch.dtype = torch.float32
    deterministic: bool = True
    extent: int = 16


FEW = (
    Case(2),
    Case(2, "cubic", padding="border", deterministic=False),
    Case(3, kind="points", padding="reflection", dtype=torch.float16, deterministic=False),
    Case(2, kind="footprints", deterministic=False),
    Case(3, deterministic=False, extent=128),  # in boxes
)
MOST = (
    *FEW,
    Case(3),
    Case(1, "spline2", padding="wrap", dtype=torch.bfloat16),
    Case(2, "nearest", dtype=torch.uint8),
    Case(2, "linear", "projective", "constant"),
    Case(2, "spline3", "points", "constant", torch.float64),
    Case(2, "spline4", "projective"),
    Case(2, "spline5", padding="wrap", dtype=torch.bfloat16),
    Case(3, "linear", "projective", "border", torch.bfloat16),
    Case(3, "linear", "points", "wrap", torch.float64),
    Case(3, "cubic", padding="constant"),
    Case(3, kind="footprints", padding="constant"),
    Case(1, "spline3", "footprints", dtype=torch.float64, deterministic=False),
    Case(3, "cubic", "footprints", "border", deterministic=False),
    Case(3, "spline3", "points", "reflection", torch.float16, deterministic=False),
    Case(3, padding="border", dtype=torch.float64, deterministic=False, extent=128),
)


class Target:
    """Stands for the driver of a GPU that is not there."""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=int, default=90, help="compute capability, 80 for 8.0")
    parser.add_argument(
        "--most", action="store_true", help="every mode, padding and type, though not all of their combinations"
    )
    arguments = parser.parse_args()
    driver.set_active(Target(arguments.arch))

    def compile_only(self: JITFunction[Any], *args: Any, warmup: bool, **options: Any) -> None:
        begin = time.perf_counter()
        compiled = run(self, *args, warmup=True, **options)
        seconds = time.perf_counter() - begin
        print(f"  {self.fn.__name__:<17} {_resources(compiled.asm['cubin'])}  {seconds:5.1f} s", flush=True)

    run, JITFunction.run = JITFunction.run, compile_only
    for case in MOST if arguments.most else FEW:
        print(f"sm_{arguments.arch} {case.ndim}-D {case.mode} {case.kind} {case.padding} {case.dtype}", flush=True)
        _launch(case)


def _launch(case: Case) -> None:
    size = (case.extent,) * case.ndim
    image = torch.zeros(2, 3, *size, dtype=case.dtype)
    wide = torch.float64 if case.dtype == torch.float64 else torch.float32
    rows = case.ndim + (case.kind == "projective")
    samples = case.extent**case.ndim
    shape = {"points": (2, samples, case.ndim), "footprints": (2, samples, case.ndim, case.ndim + 1)}.get(
        case.kind, (2, rows, case.ndim + 1)
    )
    coordinates = torch.zeros(shape, dtype=wide)
    grad_out = torch.zeros_like(image, dtype=wide)
    fill: Tensor | None = torch.zeros(3) if case.padding == "constant" else None
    how = (case.kind not in ("points", "footprints"), case.mode, (case.padding,) * case.ndim)
    torch.use_deterministic_algorithms(case.deterministic)
    launch.read(image, coordinates, size, *how, fill)
    if case.dtype != torch.uint8:
        launch.grad_coordinates(grad_out, image, coordinates, *how, fill)
        launch.grad_image(grad_out, coordinates, image, *how)
        if not case.deterministic:
            launch.gradients(grad_out, image, coordinates, *how, fill)


def _resources(cubin: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([_DUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = {name: re.search(rf"{name}:(\d+)", text) for name in ("REG", "STACK", "SHARED")}
    return "  ".join(f"{name} {match[1]:>4}" for name, match in found.items() if match)


if __name__ == "__main__":
    main()
