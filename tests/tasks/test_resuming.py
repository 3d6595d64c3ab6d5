"""Runs that are stopped, disturbed or asked for twice."""

import itertools
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from tests.tasks.conftest import options
from tests.tasks.test_training import QUIET, run_with, same, weights
from unwarp.tasks import training
from unwarp.tasks.progress import TrainingProgress
from unwarp.tasks.run_folder import RunFolder
from unwarp.tasks.training import train

NAME = "st-convnet"


def interrupt(*arguments: object, **named: object) -> Any:
    raise KeyboardInterrupt


def train_interrupted(run: RunFolder, monkeypatch: pytest.MonkeyPatch, name: str, stand_in: object) -> None:
    """Train with something else in a place of `training`, which interrupts it."""
    with monkeypatch.context() as patch:
        patch.setattr(training, name, stand_in)
        with pytest.raises(KeyboardInterrupt):
            train(run, QUIET)


def test_a_run_that_is_interrupted_while_it_is_measured_learns_no_further(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"training": {"epochs": 9, "patience": 1, "lr": 1e-12}}
    run = RunFolder.create(tmp_path / "run", options(bars, tmp_path, **settings))  # pyright: ignore[reportArgumentType]
    for _ in range(2):
        train_interrupted(run, monkeypatch, "evaluate", interrupt)
    assert train(RunFolder.open(run.path), QUIET)
    assert run.results()[NAME]["epochs"] == 2


class _Fails(TrainingProgress):
    """Something goes wrong within a step: after the forward pass, before the weights change."""

    def on_before_zero_grad(self, trainer: L.Trainer, *arguments: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if trainer.global_step == 6:
            raise KeyboardInterrupt


def test_half_a_step_is_not_gone_on_with(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"training": {"epochs": 3}, "model": {"dropout": 0.3}}
    straight = run_with(bars, tmp_path / "straight", **settings)
    run = RunFolder.create(tmp_path / "run", options(bars, tmp_path, **settings))  # pyright: ignore[reportArgumentType]
    train_interrupted(run, monkeypatch, "TrainingProgress", _Fails)
    assert not (run.folder(NAME) / "interrupted.ckpt").exists()
    assert train(RunFolder.open(run.path), QUIET)
    assert same(weights(run), weights(straight))


class _Stops(TrainingProgress):
    """Asks for a stop after some steps, and writes down what time it is then."""

    at = 0

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if trainer.global_step == self.at:
            (stop,) = (c for c in trainer.callbacks if isinstance(c, training.StopBetweenBatches))  # pyright: ignore[reportAttributeAccessIssue]
            stop.asked = True


def test_the_time_of_every_step_is_counted_whoever_interrupts(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.create(tmp_path / "run", options(bars, tmp_path, training={"epochs": 2}))
    # A second passes whenever somebody looks at the clock, which the callback does once a step.
    seconds = itertools.count()
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(seconds)))
    for at in (1, 3):
        monkeypatch.setattr(_Stops, "at", at)
        train_interrupted(run, monkeypatch, "TrainingProgress", _Stops)
    assert train(RunFolder.open(run.path), QUIET)
    steps = torch.load(run.folder(NAME) / "last.ckpt", weights_only=True)["global_step"]
    assert run.results()[NAME]["seconds"] >= steps


def test_a_training_that_is_validated_at_its_end_can_be_gone_on_with_before(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"training": {"epochs": 4, "validate": "last"}}
    straight = run_with(bars, tmp_path / "straight", **settings)
    run = RunFolder.create(tmp_path / "run", options(bars, tmp_path, **settings))  # pyright: ignore[reportArgumentType]
    train_interrupted(run, monkeypatch, "TrainingProgress", _Fails)
    kept = torch.load(run.folder(NAME) / "last.ckpt", weights_only=True)
    assert 0 < kept["global_step"] <= 6
    assert train(RunFolder.open(run.path), QUIET)
    assert same(weights(run), weights(straight))


def test_a_folder_in_which_somebody_trains_is_taken(bars: Path, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", options(bars, tmp_path))
    with run.taken(), pytest.raises(ValueError, match="^run: wanted a folder in which nobody trains"):
        train(run, QUIET)


def test_a_new_run_does_not_take_the_folder_of_one_begun_meanwhile(bars: Path, tmp_path: Path) -> None:
    late = RunFolder.create(tmp_path / "run", options(bars, tmp_path, seed=2))
    early = run_with(bars, tmp_path, seed=1)
    with pytest.raises(ValueError, match="^name: wanted a new run"):
        train(late, QUIET)
    assert RunFolder.open(early.path).options.run.seed == 1


def test_options_survive_a_disk_that_is_full(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(bars, tmp_path)
    changed = RunFolder(run.path, options(bars, tmp_path, training={"epochs": 3}))

    def full(self: Path, text: str, **words: object) -> int:
        with self.open("w") as file:
            file.write(text[:20])
        raise OSError("no space left on device")

    splits = changed.splits()
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space left"):
        changed.begin(splits, changed.batches(splits))
    assert RunFolder.open(run.path).options == run.options


@pytest.mark.parametrize("change", ["classes", "pictures", "labels"])
def test_a_run_is_neither_gone_on_with_nor_measured_on_other_pictures(bars: Path, tmp_path: Path, change: str) -> None:
    source = tmp_path / "mine.npz"
    arrays = dict(np.load(bars))
    np.savez(source, **arrays)
    run = run_with(source, tmp_path)
    before = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    if change == "classes":
        arrays["classes"] = arrays["classes"][::-1]
    elif change == "labels":
        arrays["y"] = 1 - arrays["y"]
    else:
        arrays = {"x": arrays["x"][:-2], "y": arrays["y"][:-2], "classes": arrays["classes"]}
    np.savez(source, **arrays)
    with pytest.raises(ValueError, match="^data: wanted the pictures that .* began with"):
        train(RunFolder.open(run.path), QUIET)
    assert {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()} == before
