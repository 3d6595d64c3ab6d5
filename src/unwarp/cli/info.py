"""`unwarp info`."""

import argparse
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

_PARTS = ("torch", "numpy", "lightning", "torchmetrics", "jsonargparse", "matplotlib", "pillow", "scikit-learn")


def main(argv: Sequence[str]) -> None:
    """Show versions, devices and kernels, for bug reports."""
    # Not the parser of the other commands: this one must do without the extras, to say that they are missing.
    argparse.ArgumentParser(prog="unwarp info", description="Show versions, devices and kernels.").parse_args(argv)

    import torch

    from unwarp import __version__
    from unwarp.data.storage import data_folder
    from unwarp.sampling import cpu, gpu

    rows = {"unwarp": __version__, "python": f"{platform.python_version()} on {platform.platform()}"}
    for part in _PARTS:
        try:
            rows[part] = version(part)
        except PackageNotFoundError:
            rows[part] = "not installed"
    rows["processor"] = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    rows["gpus"] = ", ".join(names) or "none"
    kernels = f"compiled kernels ({cpu.chosen()}) on the CPU" if cpu.COMPILED else "no compiled kernels"
    elsewhere = f"plain torch elsewhere (no {gpu.MISSING})"
    if not gpu.MISSING:
        elsewhere = "Triton kernels on GPUs, plain torch elsewhere"
    rows["sampler"] = f"{kernels}, {elsewhere}"
    try:
        rows["data"] = f"{data_folder()}" + (" (UNWARP_DATA)" if os.environ.get("UNWARP_DATA") else "")
    except ModuleNotFoundError as error:
        rows["data"] = str(error)
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:<{width}}  {text}")
