"""What a person sees, and finds afterwards, of a training run."""

import math
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from unwarp.data.batches import PictureBatches
from unwarp.nn import seen_from_front
from unwarp.tasks.classify import ClassifyTask

_FILM_PICTURES = 12
_LINES = 200


class TrainingProgress(Callback):
    """A bar over all batches of a training with the time left; lines, where the output is no terminal.

    There is a line for each epoch, or for every second, third and so on, so that they are two hundred at most.

    Args:
        title: of the training.
        console: where to show it.
        later: epochs of trainings that follow. After each epoch it says how long they will take together, if theirs are
            as long as these.
    """

    def __init__(self, title: str, console: Console, later: int = 0) -> None:
        self.title, self.console, self.later = title, console, later
        self._bar: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar, where a resumed run had left it."""
        self._began, self._done_before = time.monotonic(), trainer.current_epoch
        if not trainer.is_global_zero or not self.console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._bar.start()
        self._task = self._bar.add_task(
            self.title, total=int(trainer.estimated_stepping_batches), completed=trainer.global_step
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say how it goes."""
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        if "train_loss" not in metrics:
            return
        text = f"{self.title} epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: loss {metrics['train_loss']:.4f}"
        if "val_error" in metrics:
            text += f", validation error {metrics['val_error']:.2f} %"
        text += self._time_left(trainer)
        if self._bar is not None:
            self._bar.update(self._task, description=text)
        elif (trainer.current_epoch + 1) % math.ceil((trainer.max_epochs or 1) / _LINES) == 0:
            self.console.print(text, highlight=False, soft_wrap=True)

    def _time_left(self, trainer: L.Trainer) -> str:
        done = trainer.current_epoch + 1
        left = (trainer.max_epochs or done) - done
        minutes = (time.monotonic() - self._began) / (done - self._done_before) / 60
        if not self.later:
            return f", about {left * minutes:.0f} min left"
        return f", about {left * minutes:.0f} min left, {(left + self.later) * minutes:.0f} with all that follow"

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Stopped(KeyboardInterrupt):
    """Ctrl-C, taken between two batches."""


class StopBetweenBatches(Callback):
    """Ctrl-C takes effect between two batches, so that the checkpoint it leaves is whole; a second one at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> "StopBetweenBatches":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, *arguments: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop here, if that was asked for."""
        if self.asked:
            raise Stopped


class FilmRecorder(Callback):
    """Keeps what the backbone sees of the same validation pictures after each epoch, one file `NNNN.npy` per epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the frame of this epoch; the first, before any training, is 0000."""
        assert isinstance(pl_module, ClassifyTask)
        if not trainer.is_global_zero or pl_module.model.cascade is None:
            return
        frame = 0 if trainer.sanity_checking else trainer.current_epoch + 1
        images = film_images(trainer, pl_module.device)
        seen = pl_module.model.straighten(images).picture
        self.folder.mkdir(parents=True, exist_ok=True)
        if frame == 0:
            np.save(self.folder / "inputs.npy", to_uint8(seen_from_front(images)))
        np.save(self.folder / f"{frame:04d}.npy", to_uint8(seen))


def film_images(trainer: L.Trainer, device: torch.device) -> Tensor:
    """The validation pictures of the film, distorted as the validation distorts them."""
    batches = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(batches, PictureBatches)
    images, labels, seed = next(iter(batches.val_dataloader()))
    return batches.distort(images.to(device), labels.to(device), seed).images[:_FILM_PICTURES]


def to_uint8(images: Tensor) -> np.ndarray:
    """Images in 0..1 as bytes."""
    return (images.float() * 255).round().clamp(0, 255).byte().cpu().numpy()
