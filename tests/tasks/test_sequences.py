"""Pictures with a sequence of labels each, through a whole run."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from tests.tasks.conftest import options
from unwarp.report import write_report
from unwarp.tasks.align import align_pictures
from unwarp.tasks.classify import ClassifyTask
from unwarp.tasks.evaluation import _sum_by_class, load_evaluation, spelled
from unwarp.tasks.options import DataOptions, Options
from unwarp.tasks.run_folder import RunFolder
from unwarp.tasks.training import load_best, train

MODELS = ("sequence-cnn", "st-sequence-cnn", "st-recurrent", "st-convnet", "2st-convnet")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on pictures with two bars each, upright or lying."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (60, 2))
    images = np.zeros((60, 40, 40), dtype=np.uint8)
    for image, pair in zip(images, labels, strict=True):
        for side, label in enumerate(pair):
            y, x = generator.integers(2, 22), 2 + 19 * side
            image[(slice(y, y + 15), slice(x, x + 3)) if label == 0 else (slice(y, y + 3), slice(x, x + 15))] = 255
    out = tmp_path_factory.mktemp("sequences")
    parts = {"train": slice(0, 30), "val": slice(30, 40), "test": slice(40, 60)}
    arrays = {
        f"{axis}_{part}": array[rows] for part, rows in parts.items() for axis, array in (("x", images), ("y", labels))
    }
    np.savez(out / "bars.npz", allow_pickle=False, classes=np.array(["upright", "lying"]), **arrays)
    chosen = options(
        out / "bars.npz", out, training={"epochs": 1, "consistency": 0.1}, model={"model": ",".join(MODELS), "crop": 20}
    )
    chosen = Options(DataOptions(data=str(out / "bars.npz")), chosen.model, chosen.training, chosen.run)
    run = RunFolder.create(out / "run", chosen)
    assert train(run, Console(quiet=True))
    return run


@pytest.mark.parametrize("name", MODELS)
def test_every_label_counts(run: RunFolder, name: str) -> None:
    arrays = load_evaluation(run.folder(name) / "evaluation.npz")
    assert arrays["labels"].shape == arrays["predicted"].shape == (20, 2)
    assert arrays["probability"].shape == (20,)
    wrong = 100 * (arrays["labels"] != arrays["predicted"]).mean()
    assert run.results()[name]["test_error"] == pytest.approx(wrong)
    whole = (arrays["worst_label"] != arrays["worst_predicted"]).any(1)
    assert whole.all()
    assert arrays["mean_before"].shape == (2, 1, 40, 40)
    size = (40, 40) if name == "sequence-cnn" else (20, 20)
    # Side by side, what each transformer shows; one crop for each label, what is shown of a class.
    assert arrays["mean_after"].shape == ((2, 2, 1, *size) if name == "2st-convnet" else (2, 1, *size))
    maps = (2,) if name in ("2st-convnet", "st-recurrent") else ()
    assert arrays["gallery_output"].shape == (16, *maps, 1, *size)


def test_a_run_remembers_how_long_its_sequences_are(run: RunFolder) -> None:
    assert run.interface() == ((1, 40, 40), ("upright", "lying"), 2)
    assert load_best(run, "st-recurrent")(torch.rand(3, 1, 40, 40)).shape == (3, 2, 2)


def test_the_report_spells_sequences(run: RunFolder) -> None:
    assert "st-recurrent" in write_report(run).read_text()
    assert spelled(np.array([1, 0, 1]), ["a", "b"]) == "bab"
    assert spelled(np.array([1, 0]), ["upright", "lying"]) == "lying upright"
    assert spelled(np.array(1), ["upright", "lying"]) == "lying"


def test_align_writes_every_crop_with_what_is_read_in_it(run: RunFolder, tmp_path: Path) -> None:
    Image.new("L", (50, 50), 100).save(tmp_path / "a.png")
    words: dict[str, Any] = {"image_shape": (1, 40, 40), "classes": ("upright", "lying"), "complain": print}
    left_out = align_pictures(load_best(run, "st-sequence-cnn"), [tmp_path / "a.png"], tmp_path / "out", **words)
    assert left_out == 0
    assert (tmp_path / "out" / "a.png").is_file()
    model = load_best(run, "st-recurrent")
    assert align_pictures(model, [tmp_path / "a.png"], tmp_path / "more", **words) == 0
    with (tmp_path / "more" / "transforms.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["output"] for row in rows] == ["a-1.png", "a-2.png"]
    assert all((tmp_path / "more" / row["output"]).is_file() for row in rows)
    probability, predicted = model.eval()(torch.full((1, 1, 40, 40), 100 / 255)).softmax(-1)[0].max(-1)
    assert [row["predicted"] for row in rows] == [words["classes"][label] for label in predicted.tolist()]
    assert [float(row["probability"]) for row in rows] == pytest.approx(probability.tolist(), rel=1e-4)


def test_the_mean_of_a_class_is_that_of_the_crops_that_show_it() -> None:
    members = torch.nn.functional.one_hot(torch.tensor([[0, 2], [2, 2]]), 3).float()
    crops = torch.arange(4.0).view(2, 2, 1, 1, 1)
    assert _sum_by_class(members, crops).flatten().tolist() == [0.0, 0.0, 6.0]
    pictures = torch.tensor([10.0, 20.0]).view(2, 1, 1, 1)
    assert _sum_by_class(members.sum(1), pictures).flatten().tolist() == [10.0, 0.0, 50.0]


def test_the_loss_of_a_sequence_is_the_mean_over_its_labels(run: RunFolder) -> None:
    task = ClassifyTask(load_best(run, "sequence-cnn"), 2, run.options.training)
    batches = run.batches(run.splits())
    batch = batches.distort(*next(iter(batches.test_dataloader())))
    loss = task.training_step(batch, 0)
    chosen = task(batch.images).log_softmax(2).gather(2, batch.labels.unsqueeze(2))
    torch.testing.assert_close(loss, -chosen.mean())
