"""What a result was made on."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from unwarp import __version__


def machine(device: str | torch.device) -> dict[str, Any]:
    """What a result was made on: the GPU or processor that `device` is, threads, versions and commit."""
    device = torch.device(device)
    return {
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "unwarp": __version__,
        "commit": _commit(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """That of the source tree; None for an installed package, also one that lies in somebody's repository."""
    source = Path(__file__)
    tracked = ("ls-files", "--error-unmatch", source.name)
    describe = ("describe", "--always", "--dirty", "--abbrev=12")
    try:
        for words in (tracked, describe):
            command = ["git", "-C", str(source.parent), *words]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
