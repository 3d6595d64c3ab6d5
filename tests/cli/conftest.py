from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unwarp.cli.main import main

CLASSES = ("lying", "upright")


def bar(lying: bool, size: tuple[int, int], seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    pixels = np.zeros((*size, 3), dtype=np.uint8)
    colour = generator.integers(120, 255, 3)
    height, width = size
    if lying:
        pixels[height // 2 - 2 : height // 2 + 2, width // 8 : -width // 8] = colour
    else:
        pixels[height // 8 : -height // 8, width // 2 - 2 : width // 2 + 2] = colour
    return Image.fromarray(pixels).rotate(float(generator.uniform(-25, 25)))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of coloured bars, in class sub-folders."""
    root = tmp_path_factory.mktemp("pictures")
    for label, name in enumerate(CLASSES):
        (root / name).mkdir()
        for index in range(20):
            bar(label == 0, (24 + index, 30), 100 * label + index).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained from the command line."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs")
    words = ["train", "--data", str(pictures), "--size", "24", "--epochs", "2", "--batch-size", "8"]
    words += ["--accelerator", "cpu", "--precision", "32", "--out", str(out), "--name", "bars"]
    assert main(words) == 0
    return out / "bars"
