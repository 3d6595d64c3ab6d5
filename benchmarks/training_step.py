"""What does the sampler change in training? A step of `mnist-rts` with ours, and the same with torch's operators.

    python -m benchmarks.training_step [--threads N] [--seconds S]

One step of AdamW in bfloat16 on 128 pictures of 42×42, with a spatial transformer before the small network (to 20×20)
and before the paper's (to 24×24). The convolutions dominate.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import medians
from unwarp.maps import LinearMap
from unwarp.models import build_model
from unwarp.tasks.machine import machine

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=10.0, help="per network")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for name in ("st-convnet", "st-cnn"):
        seconds = medians({"unwarp": step(name), "torch": _on_torch(step(name))}, seconds=arguments.seconds)
        rows.append({"model": name, "seconds": seconds})
        print(f"{name:12} {1000 * seconds['unwarp']:8.1f} ms   torch ×{seconds['torch'] / seconds['unwarp']:.3g}")
    path = RESULTS / f"training-step-cpu-{arguments.threads}.json"
    path.write_text(json.dumps({"machine": machine("cpu"), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")


def step(name: str) -> Callable[[], Any]:
    """A call that makes one step of training of that model."""
    torch.manual_seed(0)
    model = build_model(name, (1, 42, 42), 10, crop=(24, 24) if name == "st-cnn" else (20, 20))
    optimizer = torch.optim.AdamW(model.parameters())
    images, labels = torch.rand(128, 1, 42, 42), torch.randint(10, (128,))

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def _on_torch(call: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> None:
        with mock.patch("unwarp.nn.spatial_transformer.warp", _torch_warp):
            call()

    return run


def _torch_warp(image: Tensor, pull: LinearMap, size: tuple[int, ...], **_: Any) -> Tensor:
    grid = F.affine_grid(pull.matrix, [*image.shape[:2], *size], align_corners=False)
    return F.grid_sample(image, grid.to(image.dtype), align_corners=False)


if __name__ == "__main__":
    main()
