"""What the numbers of a run rest on: which pictures it is shown, what it minimises, how it steps and what it keeps."""

import copy
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn
from torch.optim import lr_scheduler

from tests.tasks.conftest import options
from unwarp import losses
from unwarp.data.batches import Batch
from unwarp.models import Classifier, build_model
from unwarp.nn import Localization, SpatialTransformer
from unwarp.tasks import training
from unwarp.tasks.classify import ClassifyTask
from unwarp.tasks.evaluation import load_evaluation
from unwarp.tasks.options import Options, TrainingOptions
from unwarp.tasks.progress import TrainingProgress
from unwarp.tasks.run_folder import RunFolder
from unwarp.tasks.training import build, load_best, train
from unwarp.transforms import ThinPlateSpline
from unwarp.warping import warp

NAME = "st-convnet"
QUIET = Console(quiet=True)
# Shorter than any gradient of these trainings.
CLIP = 0.01
# In percent. Of a thousand pictures one may lie so near the edge that the size of a batch decides.
EDGE = 0.15
SCHEDULES = {
    "onecycle": lambda optimizer, lr, steps: lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.2),
    "cosine": lambda optimizer, lr, steps: lr_scheduler.CosineAnnealingLR(optimizer, steps),
    "step": lambda optimizer, lr, steps: lr_scheduler.StepLR(optimizer, steps // 3, gamma=0.1),
    "constant": lambda optimizer, lr, steps: lr_scheduler.ConstantLR(optimizer, factor=1.0),
}


class Witness(TrainingProgress):
    """Sits in the place of the progress bar, and writes down what happens."""

    def __init__(self) -> None:
        super().__init__("", QUIET)
        self.trained: list[Tensor] = []
        self.validated: list[Tensor] = []
        self.weights: list[dict[str, Tensor]] = []
        self.rates: list[list[float]] = []
        self.norms: list[float] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        assert isinstance(pl_module, ClassifyTask)
        self.model, (self.optimizer,) = pl_module.model, trainer.optimizers

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.trained.append(batch.images)
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        self.norms.append(float(nn.utils.get_total_norm(gradients)))

    def on_validation_batch_start(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, *_: Any
    ) -> None:
        self.validated.append(batch.images)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            assert isinstance(pl_module, ClassifyTask)
            self.weights.append(copy.deepcopy(pl_module.model.state_dict()))


def trained_before(witness: TrainingProgress, path: Path, chosen: Options) -> RunFolder:
    run = RunFolder.create(path, chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "TrainingProgress", lambda *_: witness)
        assert train(run, QUIET)
    return run


@pytest.fixture(
    scope="module",
    params=[
        ("r", "adamw", "onecycle", 0.0),
        ("r", "sgd", "step", CLIP),
        ("none", "adamw", "cosine", CLIP),
        ("none", "sgd", "constant", 0.0),
    ],
    ids="{0[0]}-{0[1]}-{0[2]}".format,
)
def watched(
    request: pytest.FixtureRequest, bars: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunFolder, Witness]:
    """A training in which everything is random that may be, and its witness."""
    distortion, optimizer, schedule, clip = request.param
    out, witness = tmp_path_factory.mktemp("watched"), Witness()
    chosen = options(
        bars,
        out,
        data={"distortion": distortion, "bend": 1.0},
        model={"dropout": 0.5, "jitter": 0.2},
        training={"optimizer": optimizer, "schedule": schedule, "clip": clip, "lr": 0.02}
        | {"label_smoothing": 0.2, "localization_factor": 0.25, "weight_decay": 0.03},
    )
    return trained_before(witness, out / "run", chosen), witness


def clean(run: RunFolder, part: str) -> tuple[Tensor, Tensor]:
    """Pictures and labels that a run of another seed is measured on, distorted by hand."""
    other = RunFolder(run.path, replace(run.options, run=replace(run.options.run, seed=99)))
    batches = other.batches(other.splits())
    found = []
    for images, labels, seed in getattr(batches, f"{part}_dataloader")():
        pictures = images.float() / 255
        if batches.distortion is not None:
            pictures = batches.distortion(pictures, torch.Generator().manual_seed(seed)).images
        found.append((pictures, labels))
    pictures, labels = zip(*found, strict=True)
    return torch.cat(pictures), torch.cat(labels)


def logged(run: RunFolder, name: str, what: str) -> list[float]:
    (log,) = run.log_files(name)
    with log.open() as file:
        return [float(row[what]) for row in csv.DictReader(file) if row[what]]


@torch.no_grad()
def error_of(run: RunFolder, weights: dict[str, Tensor], pictures: Tensor, labels: Tensor) -> float:
    model = build(run.options, NAME, *run.interface())
    model.load_state_dict(weights)
    return 100 * float((model.eval()(pictures).argmax(1) != labels).float().mean())


def test_training_pictures_are_augmented(watched: tuple[RunFolder, Witness]) -> None:
    run, witness = watched
    batches = run.batches(run.splits())
    loader = batches.train_dataloader()
    shown = iter(witness.trained)
    for epoch in range(run.options.training.epochs):
        loader.sampler.set_epoch(epoch)  # pyright: ignore[reportAttributeAccessIssue]
        for key in loader:
            images = next(shown)
            assert torch.equal(images, batches.distort(*key, training=True).images)
            assert not torch.equal(images, batches.distort(*key).images)


def test_validation_pictures_are_not_augmented_in_any_epoch(watched: tuple[RunFolder, Witness]) -> None:
    run, witness = watched
    pictures, _ = clean(run, "val")
    first = len(witness.validated[0])
    assert torch.equal(witness.validated[0], pictures[:first])  # before any training
    shown = torch.cat(witness.validated[1:])
    assert torch.equal(shown, torch.cat([pictures] * run.options.training.epochs))


def test_the_test_pictures_are_not_augmented(watched: tuple[RunFolder, Witness]) -> None:
    run, _ = watched
    arrays, (pictures, labels) = load_evaluation(run.folder(NAME) / "evaluation.npz"), clean(run, "test")
    shown = arrays["gallery_input"]
    assert np.array_equal(shown, pictures[: len(shown)].numpy())
    assert np.array_equal(arrays["labels"], labels.numpy())


def test_the_validation_error_is_that_of_one_epoch(watched: tuple[RunFolder, Witness]) -> None:
    run, witness = watched
    pictures, labels = clean(run, "val")
    errors = [error_of(run, weights, pictures, labels) for weights in witness.weights]
    assert len(errors) == run.options.training.epochs
    assert logged(run, NAME, "val_error") == pytest.approx(errors, abs=EDGE)


def test_the_test_error_is_that_of_the_best_weights(watched: tuple[RunFolder, Witness]) -> None:
    run, _ = watched
    pictures, labels = clean(run, "test")
    error = error_of(run, load_best(run, NAME).state_dict(), pictures, labels)
    assert run.results()[NAME]["test_error"] == pytest.approx(error, abs=EDGE)


def test_the_learning_rate_of_every_step_is_that_of_torch(watched: tuple[RunFolder, Witness]) -> None:
    run, witness = watched
    chosen = run.options.training
    reference = torch.optim.AdamW([nn.Parameter(torch.zeros(()))], chosen.lr)
    schedule = SCHEDULES[chosen.schedule](reference, chosen.lr, len(witness.rates))
    wanted = []
    for _ in witness.rates:
        wanted.append(reference.param_groups[0]["lr"])
        reference.step()
        schedule.step()
    localizations = [m.localization for m in witness.model.modules() if isinstance(m, SpatialTransformer)]
    slow = {id(parameter) for network in localizations for parameter in network.parameters()}
    assert slow
    for group, rates in zip(witness.optimizer.param_groups, zip(*witness.rates, strict=True), strict=True):
        (is_slow,) = {id(parameter) in slow for parameter in group["params"]}
        factor = chosen.localization_factor if is_slow else 1.0
        assert rates == pytest.approx([factor * rate for rate in wanted])


def test_the_optimiser_is_the_one_named_and_every_weight_decays(watched: tuple[RunFolder, Witness]) -> None:
    run, witness = watched
    chosen = run.options.training
    if chosen.optimizer == "adamw":
        assert isinstance(witness.optimizer, torch.optim.AdamW)
    else:
        assert isinstance(witness.optimizer, torch.optim.SGD)
        assert {group["momentum"] for group in witness.optimizer.param_groups} == {0.9}
    decays = {id(p): group["weight_decay"] for group in witness.optimizer.param_groups for p in group["params"]}
    assert decays.keys() == {id(parameter) for parameter in witness.model.parameters()}
    assert {decays[id(p)] for p in witness.model.parameters() if p.ndim > 1} == {chosen.weight_decay}


def test_long_gradients_are_clipped_if_asked(watched: tuple[RunFolder, Witness]) -> None:
    run, witness = watched
    if run.options.training.clip:
        assert witness.norms == pytest.approx([CLIP] * len(witness.norms), rel=1e-3)
    else:
        assert min(witness.norms) > 1.1 * CLIP


class Threshold(nn.Module):
    """Tells bright pictures from dark ones."""

    def __init__(self, in_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.at, self.sharpness = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(1.0))

    def forward(self, image: Tensor) -> Tensor:
        over = self.sharpness * (image.flatten(1).mean(1, keepdim=True) - self.at)
        return torch.cat([-over, over], dim=1)


class Staged(TrainingProgress):
    """Ends each epoch with a threshold of its own: which is the best is no matter of luck."""

    # The least error has neither the least loss nor the last word.
    stages = ((0.9, 1.0), (0.6, 1000.0), (0.2, 1.0))
    best = 0.6

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if trainer.is_last_batch:
            at, sharpness = self.stages[trainer.current_epoch]
            pl_module.load_state_dict(
                {"model.backbone.at": torch.tensor(at), "model.backbone.sharpness": torch.tensor(sharpness)},
                strict=False,
            )


def test_the_epoch_with_the_least_validation_error_is_kept_and_tested(tmp_path: Path) -> None:
    levels = np.arange(250, dtype=np.uint8)
    np.savez(tmp_path / "levels.npz", x=np.broadcast_to(levels[:, None, None], (250, 8, 8)), y=levels // 125)
    chosen = options(
        tmp_path / "levels.npz",
        tmp_path,
        data={"distortion": "none"},
        model={"model": "convnet", "backbone": f"{__name__}:Threshold"},
        training={"epochs": len(Staged.stages)},
    )
    run = trained_before(Staged("", QUIET), tmp_path / "run", chosen)
    splits = run.splits()

    def error(part: str, at: float) -> float:
        pictures = getattr(splits, part)
        bright = pictures.images[:, 0, 0, 0] / 255 > at
        return 100 * float((bright != (pictures.labels == 1)).float().mean())

    errors = [error("validation", at) for at, _ in Staged.stages]
    assert logged(run, "convnet", "val_error") == pytest.approx(errors, abs=1e-3)
    assert np.argmin(errors) == np.argmax(logged(run, "convnet", "val_loss")) == 1
    model = load_best(run, "convnet")
    assert isinstance(model.backbone, Threshold)
    assert model.backbone.at.item() == pytest.approx(Staged.best)
    record = run.results()["convnet"]
    assert record["validation_error"] == pytest.approx(min(errors), abs=1e-3)
    assert record["test_error"] == pytest.approx(error("test", Staged.best), abs=1e-3)


@pytest.fixture
def batch() -> Batch:
    return Batch(torch.rand(6, 1, 16, 16), torch.arange(6) % 3, None)


def loss_of(model: Classifier, batch: Batch, **words: float) -> Tensor:
    torch.manual_seed(1)
    return ClassifyTask(model, 3, TrainingOptions(**words)).training_step(batch, 0).detach()  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("consistency", "transformation_consistency"),
        ("identity_prior", "identity_prior"),
        ("outside", "outside"),
        ("shrinkage", "shrinkage"),
        ("bending", "bending_energy"),
    ],
)
def test_a_regulariser_is_added_by_its_weight(
    option: str, name: str, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, calls = getattr(losses, name), []
    monkeypatch.setattr(losses, name, lambda *arguments: calls.append(arguments) or measure(*arguments))
    model = build_model(NAME, (1, 16, 16), 3, transform=ThinPlateSpline((4, 4)), crop=(8, 8))
    (localization,) = (m for m in model.modules() if isinstance(m, Localization))
    nn.init.normal_(localization.head.weight)
    nn.init.normal_(localization.head.bias, std=0.7)

    def placed(images: Tensor) -> Tensor:
        pull = model.straighten(images).pull
        assert pull is not None
        return pull.grid((5, 5))

    plain = loss_of(model, batch)
    assert not calls
    more = loss_of(model, batch, **{option: 2.0}) - plain
    ((pull, *others),) = calls
    term = measure(pull, *others)
    assert term > 1e-3
    torch.testing.assert_close(more, 2 * term, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(pull.grid((5, 5)), placed(batch.images))
    if option == "consistency":
        moved, known, _ = others
        torch.testing.assert_close(moved.grid((5, 5)), placed(warp(batch.images, known)))


@pytest.mark.parametrize("spread", [1.0, 0.3])
def test_the_divergence_from_the_prior_is_added_by_its_weight(spread: float, batch: Batch) -> None:
    model = build_model("pst-convnet", (1, 16, 16), 3)
    distribution = model.straighten(batch.images).distribution
    assert distribution is not None
    more = loss_of(model, batch, divergence=0.5, prior_spread=spread) - loss_of(model, batch, divergence=0.0)
    torch.testing.assert_close(more, 0.5 * distribution.divergence(spread).mean(), atol=1e-5, rtol=1e-4)


def test_a_probabilistic_model_is_measured_with_as_many_draws_as_the_run_says(tmp_path: Path, batch: Batch) -> None:
    chosen = options(tmp_path, tmp_path, model={"model": "pst-convnet", "samples": 3})
    draws = build(chosen, "pst-convnet", (1, 16, 16), ("0", "1", "2")).eval().straighten(batch.images).draws
    assert draws is not None
    assert draws.shape[1] == 3


def test_labels_are_smoothed_as_torch_does_in_training_only(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model("convnet", (1, 16, 16), 3)
    wanted = F.cross_entropy(model(batch.images), batch.labels, label_smoothing=0.3)
    torch.testing.assert_close(loss_of(model, batch, label_smoothing=0.3), wanted.detach())
    task = ClassifyTask(model, 3, TrainingOptions(label_smoothing=0.3))
    found = {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: found.update({name: value}))
    task.validation_step(batch, 0)
    torch.testing.assert_close(found["val_loss"], F.cross_entropy(model(batch.images), batch.labels))


def test_the_seed_draws_the_labelled_pictures_and_leaves_the_others(bars: Path, tmp_path: Path) -> None:
    first, again, other = (
        RunFolder(tmp_path, options(bars, tmp_path, data={"labels": 10}, seed=seed)).splits() for seed in (1, 1, 2)
    )
    assert first.train.names == again.train.names != other.train.names
    assert len(first.train) == len(other.train) == 10
    assert first.validation.names == other.validation.names
    assert first.test.names == other.test.names


def levels_of(batches: Any, part: str) -> Iterator[int]:
    for key in getattr(batches, f"{part}_dataloader")():
        yield from (255 * batches.distort(*key).images).round().int().unique().tolist()


def test_clutter_is_cut_from_training_pictures_only(tmp_path: Path) -> None:
    grey = {"train": 200, "val": 100, "test": 50}
    arrays: dict[str, Any] = {f"x_{part}": np.full((8, 16, 16), level, np.uint8) for part, level in grey.items()}
    arrays |= {f"y_{part}": np.arange(8) % 2 for part in grey}
    np.savez(tmp_path / "grey.npz", **arrays)
    run = RunFolder(tmp_path, options(tmp_path / "grey.npz", tmp_path, data={"distortion": "tc"}))
    batches = run.batches(run.splits())
    for part, level in grey.items():
        assert set(levels_of(batches, part)) == {0, level, grey["train"]}
