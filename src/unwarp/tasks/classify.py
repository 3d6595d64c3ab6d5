"""Classify pictures, or read sequences in them, with or without spatial transformers before the network."""

import math
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR
from torchmetrics.classification import MulticlassAccuracy

from unwarp import losses
from unwarp.data.batches import Batch
from unwarp.maps import Map, SplineMap
from unwarp.models import Classifier
from unwarp.nn import Diagnosis, diagnose, parameter_groups, warn_if_collapsed, watch
from unwarp.tasks.options import TrainingOptions
from unwarp.transforms import Similarity
from unwarp.warping import warp

_WARM_UP = 0.2
# Points for the regularisers; maps are smooth, so that a coarse grid says enough.
_REGULARIZER_POINTS = 8
# The known moves of the consistency loss.
_CONSISTENCY_REACH = {"scale": math.log(1.25), "angle": math.pi / 4, "translation": 0.2}


class ClassifyTask(L.LightningModule):
    """Trains a classifier; logs its error and what its spatial transformers do.

    Args:
        model: the network.
        num_classes: number of classes.
        options: how to train it.
        seed: of what is random in a training step.
    """

    def __init__(self, model: Classifier, num_classes: int, options: TrainingOptions, seed: int = 0) -> None:
        super().__init__()
        self.model, self.options, self.seed = model, options, seed
        self.validation_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self._of_epoch: dict[str, list[Tensor]] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[N, classes]`, or `[N, T, classes]` for sequences of labels."""
        return self.model(images)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout and the like by the step, so that a resumed run goes on as if it had never stopped."""
        seed = self.seed * 1_000_003 + self.global_step
        # torch.manual_seed writes down a stack trace for every kind of device that is not in use.
        torch.default_generator.manual_seed(seed)
        if self.device.type in ("cuda", "mps"):
            torch.get_device_module(self.device).manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy plus the regularisers that have a weight."""
        seen = self.model.straighten(batch.images)
        logits = self.model.classify(seen).float()
        loss = _cross_entropy(logits, batch.labels, self.options.label_smoothing)
        self._collect("train_loss", loss)
        self._collect("train_error", 100 * (logits.argmax(-1) != batch.labels).float().mean())
        if seen.pull is not None:
            loss = loss + self._regularization(batch.images, seen.pull)
        if seen.distribution is not None:
            divergence = seen.distribution.divergence(self.options.prior_spread).mean()
            self._collect("train_divergence", divergence)
            loss = loss + self.options.divergence * divergence
        return loss

    def _collect(self, name: str, value: Tensor) -> None:
        """Keep a value for the epoch's mean. Having `log` take it at every step is a tenth of a small step's time."""
        self._of_epoch.setdefault(name, []).append(value.detach())

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the means over the epoch's steps after the last. ValueError if the weights are no numbers any more."""
        if not self.trainer.is_last_batch:
            return
        for name, values in self._of_epoch.items():
            self.log(name, torch.stack(values).mean(), on_step=False, on_epoch=True)
        self._of_epoch.clear()
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            wanted = "lr: wanted one at which weights stay finite, got"
            raise ValueError(f"{wanted} {self.options.lr}, at which they do not in epoch {self.current_epoch + 1}")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log loss, error in percent and the diagnosis of the maps."""
        seen = self.model.straighten(batch.images)
        with watch(self.model.backbone) as deeper:
            logits = self.model.classify(seen).float()
        self.validation_accuracy(logits.flatten(0, -2), batch.labels.flatten())
        count = len(batch.labels)
        self.log("val_loss", _cross_entropy(logits, batch.labels), batch_size=count, sync_dist=True)
        if seen.pull is None:
            return
        size = seen.image.shape[-seen.pull.ndim :]
        diagnosis = diagnose(seen.pull, size)
        self._log_pose("pose", diagnosis, count)
        if len(seen.pull.batch) > 1:
            for index in range(seen.pull.batch[1]):
                self._log_pose(f"pose_map{index + 1}", diagnose(seen.pull[:, index : index + 1], size), count)
        for depth, (pull,) in enumerate(deeper.values(), start=2):
            self._log_pose(f"pose_depth{depth}", diagnose(pull, (_REGULARIZER_POINTS,) * pull.ndim), count)
        if batch_idx == 0 and not self.trainer.sanity_checking:
            warn_if_collapsed(batch.images, seen.image, diagnosis)

    def _log_pose(self, prefix: str, diagnosis: Diagnosis, count: int) -> None:
        for name, value in diagnosis.means().items():
            self.log(f"{prefix}_{name}", value, batch_size=count, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log the validation error in percent."""
        self.log("val_error", 100 * (1 - self.validation_accuracy.compute()), prog_bar=True)
        self.validation_accuracy.reset()

    def configure_optimizers(self) -> Any:
        """The optimiser with its schedule, stepped after every batch."""
        options = self.options
        groups = parameter_groups(self.model, lr=options.lr, localization_factor=options.localization_factor)
        if options.optimizer == "adamw":
            # In one kernel, which Lightning cannot clip before.
            fused = True if self.device.type in ("cuda", "cpu") and not options.clip else None
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups, weight_decay=options.weight_decay, fused=fused)
        else:
            optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=options.weight_decay)
        steps = max(2, int(self.trainer.estimated_stepping_batches))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._schedule(optimizer, steps), "interval": "step"},
        }

    def _schedule(self, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
        match self.options.schedule:
            case "onecycle":
                highest = [group["lr"] for group in optimizer.param_groups]
                return OneCycleLR(optimizer, highest, total_steps=steps, pct_start=_WARM_UP)
            case "cosine":
                return CosineAnnealingLR(optimizer, steps)
            case "step":
                return LambdaLR(optimizer, lambda step: 0.1 ** (3 * step // steps))
            case _:
                return LambdaLR(optimizer, lambda step: 1.0)

    def _regularization(self, images: Tensor, pull: Map) -> Tensor:
        options, size = self.options, (_REGULARIZER_POINTS,) * pull.ndim
        total = torch.zeros((), device=images.device)
        if options.consistency:
            known = _random_similarity(len(images), pull.ndim, images.device)
            moved = self.model.straighten(warp(images, known)).pull
            assert moved is not None
            if len(pull.batch) > 1:
                known = known.each(lambda tensor: tensor.unsqueeze(1))
            consistency = losses.transformation_consistency(pull, moved, known, size)
            self._collect("train_consistency", consistency)
            total = total + options.consistency * consistency
        if options.identity_prior:
            total = total + options.identity_prior * losses.identity_prior(pull, size)
        if options.outside:
            total = total + options.outside * losses.outside(pull, size)
        if options.shrinkage:
            total = total + options.shrinkage * losses.shrinkage(pull, size)
        if options.bending and isinstance(pull, SplineMap):
            total = total + options.bending * losses.bending_energy(pull)
        return total


def _cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean over all labels, of logits `[..., classes]`."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), label_smoothing=smoothing)


def _random_similarity(count: int, ndim: int, device: torch.device) -> Map:
    similarity = Similarity(ndim)
    reach = torch.tensor([_CONSISTENCY_REACH[kind] for kind in similarity.kinds], device=device)
    theta = (2 * torch.rand(count, len(reach), device=device) - 1) * reach
    return similarity(torch.cat([theta[:, :1].exp(), theta[:, 1:]], dim=1))
