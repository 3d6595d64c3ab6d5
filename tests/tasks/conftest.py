from pathlib import Path

import numpy as np
import pytest
import torch

from unwarp.tasks.options import DataOptions, ModelOptions, Options, RunOptions, TrainingOptions


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set: upright and lying bars, as an archive."""
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 2
    images = np.zeros((90, 16, 16), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        at, bright = generator.integers(3, 12), generator.integers(120, 255)
        if label:
            image[at : at + 2, 2:14] = bright
        else:
            image[2:14, at : at + 2] = bright
    path = tmp_path_factory.mktemp("bars") / "bars.npz"
    np.savez(path, x=images, y=labels, classes=np.array(["upright", "lying"]))
    return path


def options(
    source: Path,
    out: Path,
    *,
    data: dict | None = None,
    training: dict | None = None,
    model: dict | None = None,
    **run: object,
) -> Options:
    return Options(
        DataOptions(**({"data": str(source), "distortion": "rts"} | (data or {}))),  # pyright: ignore[reportArgumentType]
        ModelOptions(**({"model": "st-convnet", "crop": 12} | (model or {}))),
        TrainingOptions(**({"epochs": 2, "batch_size": 16} | (training or {}))),  # pyright: ignore[reportArgumentType]
        RunOptions(**({"out": str(out), "name": "run", "precision": "32", "accelerator": "cpu"} | run)),  # pyright: ignore[reportArgumentType]
    )


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
