"""Train every model of a run under the same budget, and measure it."""

import json
import logging
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from unwarp.data.batches import PictureBatches
from unwarp.models import Classifier, build_model, build_transform, import_backbone
from unwarp.tasks.classify import ClassifyTask
from unwarp.tasks.evaluation import EVALUATION, error_percent, evaluate, save_evaluation
from unwarp.tasks.files import replacing
from unwarp.tasks.machine import machine
from unwarp.tasks.options import Options
from unwarp.tasks.progress import FilmRecorder, StopBetweenBatches, Stopped, TrainingProgress
from unwarp.tasks.run_folder import LOGS, RunFolder

_TRAINED = "trained.json"
# How often a training is saved that is validated at its end only.
_SAVED = 20


def train(run: RunFolder, console: Console, later: int = 0) -> bool:
    """Train the models of a run that are not finished, each from where it stopped.

    Args:
        run: what to train, and where.
        console: where to show progress.
        later: epochs of other runs that follow, which the time left is shown with.

    Returns:
        Whether this is the process that leads, and writes the results.

    Raises:
        ValueError: for options that do not fit the data, a device that is not there, or a folder in which another
            process trains.
        KeyboardInterrupt: if the user stopped it; everything up to then is in the checkpoints.
    """
    _check_accelerator(run.options.run.accelerator)
    splits = run.splits()
    batches = run.batches(splits)
    console.print(
        f"{run.options.data.data}: {len(splits.train)} training, {len(splits.validation)} validation and "
        f"{len(splits.test)} test pictures of {len(batches.classes)} classes, {batches.image_shape}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    # All are built before any is trained, so that a misfit is found at once, and before anything is written.
    interface = batches.image_shape, batches.classes, splits.steps
    built = {name: build(run.options, name, *interface) for name in run.models}
    with run.taken():
        run.begin(splits, batches)
        done = run.results()
        leads = True
        missing = [name for name in built if name not in done]
        for place, name in enumerate(missing, start=1):
            after = later + (len(missing) - place) * run.options.training.epochs
            leads = _train_one(run, name, built[name], run.batches(splits), console, after)
    return leads


def build(
    chosen: Options,
    name: str,
    image_shape: tuple[int, ...],
    classes: tuple[str, ...],
    steps: int | None = None,
) -> Classifier:
    """One model of a run, untrained but the same for the same seed; with the user's own backbone if the run has one.

    With `steps` it gives each picture a sequence of labels of that length.
    """
    options = chosen.model
    ndim = len(image_shape) - 1
    crop = None if options.crop is None else (options.crop,) * ndim
    torch.manual_seed(chosen.run.seed)
    backbone = None if options.backbone is None else partial(import_backbone, options.backbone)
    return build_model(
        name,
        image_shape,
        len(classes),
        steps=steps,
        transform=build_transform(options.transform, ndim, bounded=options.bounded),
        num_transformers=options.transformers,
        look=options.look,
        passes=options.passes,
        parallel=options.parallel,
        crop=crop,
        leash=options.leash,
        window=options.window,
        jitter=options.jitter,
        samples=options.samples,
        projection=options.projection,
        dropout=options.dropout,
        normalize=options.normalize,
        parameters=options.parameters,
        backbone=backbone,
    )


def load_best(run: RunFolder, name: str) -> Classifier:
    """A model with the weights that did best in the validation. ValueError if there are none."""
    file = run.folder(name) / "best.ckpt"
    if not file.is_file():
        raise ValueError(f"run: wanted a trained {name}, but {file} is missing; train it first")
    model = build(run.options, name, *run.interface())
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        prefix = "model."
        weights = checkpoint["state_dict"].items()
        model.load_state_dict({k.removeprefix(prefix): v for k, v in weights if k.startswith(prefix)})
    except (RuntimeError, KeyError, EOFError, OSError, UnpicklingError) as error:
        raise ValueError(f"run: wanted the weights of {name} in {file}, got {error}") from error
    return model


def _check_accelerator(word: str) -> None:
    mps = torch.backends.mps.is_available()
    if not {"gpu": mps or torch.cuda.is_available(), "mps": mps}.get(word, True):
        raise ValueError(f"accelerator: wanted one that this machine has, got {word!r}; it has a cpu")


def _train_one(
    run: RunFolder, name: str, model: Classifier, batches: PictureBatches, console: Console, later: int
) -> bool:
    folder = run.folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    best = ModelCheckpoint(folder, "best", monitor="val_error", enable_version_counter=False)
    clock, stop = _Clock(), StopBetweenBatches()
    trainer = _trainer(run, name, [best, stop, clock, TrainingProgress(name, console, later)])
    ended = folder / _TRAINED
    # A run that was interrupted while it was measured must not go on learning.
    if not ended.exists():
        task = ClassifyTask(model, len(batches.classes), run.options.training, run.options.run.seed)
        _fit(trainer, stop, task, batches, folder)
        if not trainer.is_global_zero:
            return False
        training = {
            "validation_error": float(best.best_model_score) if best.best_model_score is not None else None,
            "epochs": trainer.current_epoch,
            "seconds": round(clock.seconds, 1),
        }
        with replacing(ended) as partial:
            partial.write_text(json.dumps(training | clock.machine, indent=2) + "\n", encoding="utf-8")
        if stop.asked:
            raise KeyboardInterrupt
    trained = load_best(run, name)
    arrays = evaluate(trained, batches, trainer.strategy.root_device)
    save_evaluation(arrays, folder / EVALUATION)
    measured = {
        "test_error": error_percent(arrays),
        "parameters": sum(parameter.numel() for parameter in trained.parameters()),
        "test_pictures": len(arrays["labels"]),
        "seed": run.options.run.seed,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    run.add_result(name, measured | json.loads(ended.read_text(encoding="utf-8")))
    return True


def _trainer(run: RunFolder, name: str, callbacks: list[Callback]) -> L.Trainer:
    folder, options = run.folder(name), run.options
    each = options.training.validate == "each"
    # Epochs that are not validated may be of a step each: to save every one would take longer than they do.
    rarely = {"save_on_train_epoch_end": True, "every_n_epochs": math.ceil(options.training.epochs / _SAVED)}
    callbacks += [
        ModelCheckpoint(folder, "last", enable_version_counter=False, **({} if each else rarely)),
        _CheckpointOfStop(folder, "interrupted"),
        FilmRecorder(folder / "film"),
    ]
    if options.training.patience:
        callbacks.append(EarlyStopping("val_error", patience=options.training.patience))
    with _quiet():
        return L.Trainer(
            max_epochs=options.training.epochs,
            accelerator=options.run.accelerator,
            devices=options.run.devices,
            num_nodes=options.run.num_nodes,
            strategy="ddp" if options.run.devices * options.run.num_nodes > 1 else "auto",
            check_val_every_n_epoch=1 if each else options.training.epochs,
            precision=_precision(options.run.precision),
            gradient_clip_val=options.training.clip or None,
            callbacks=callbacks,
            # A resumed run logs beside what it logged before.
            logger=[CSVLogger(folder, name=LOGS), TensorBoardLogger(folder, name="", version="tensorboard")],
            default_root_dir=folder,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=10**9,  # everything is logged by the epoch
            num_sanity_val_steps=1,
        )


def _fit(
    trainer: L.Trainer, stop: StopBetweenBatches, task: ClassifyTask, batches: PictureBatches, folder: Path
) -> None:
    # Convolutions are faster in this order of memory, on CPU and GPU. Networks of volumes have none: they become
    # pictures on their way.
    if len(batches.image_shape) == 3:
        task.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    checkpoints = [file for stem in ("last", "interrupted") if (file := folder / f"{stem}.ckpt").exists()]
    newest = max(checkpoints, key=lambda file: file.stat().st_mtime_ns, default=None)
    try:
        with _quiet(), stop:
            trainer.fit(task, datamodule=batches, ckpt_path=newest, weights_only=True)
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice to whoever wrote the training loop: the user did not."""
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        # Raised in torch's name while Lightning saves the state of the order of epochs.
        warnings.filterwarnings("ignore", message=r".*treespec.*")
        try:
            yield
        finally:
            logger.setLevel(before)


class _CheckpointOfStop(OnExceptionCheckpoint):
    """Keeps where a training was stopped between two batches. What fails within one would leave half a step."""

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if isinstance(exception, Stopped | SIGTERMException):
            super().on_exception(trainer, pl_module, exception)


class _Clock(Callback):
    """Training time, interruptions left out, and what it was begun on: the sources may change meanwhile."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.machine: dict[str, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.monotonic() - self.seconds
        self.machine = self.machine or machine(pl_module.device)

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any, **named: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.seconds = time.monotonic() - self._started

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds = time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "machine": self.machine}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.machine = state_dict["seconds"], state_dict["machine"]


def _precision(word: str) -> Any:
    if word == "auto":
        of_cpu = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        on_cpu = any(getattr(torch.cpu, name, lambda: False)() for name in of_cpu)
        fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else on_cpu
        word = "bf16" if fast else "32"
    return {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[word]
