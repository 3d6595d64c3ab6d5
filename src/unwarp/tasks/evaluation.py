"""Measure a trained classifier on the test pictures, and keep what a report shows of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unwarp.data.arrays import DAMAGE
from unwarp.data.batches import PictureBatches
from unwarp.maps import LinearMap, Map
from unwarp.models import Classifier
from unwarp.nn import diagnose, mean_rotation, seen_from_front
from unwarp.tasks.files import replacing
from unwarp.tasks.turning import turn

# In the folder of a model.
EVALUATION = "evaluation.npz"
_GALLERY = 16
_OUTLINE = (9, 9)
_POSES = 2000
_TURNING = 10


@torch.no_grad()
def evaluate(model: Classifier, batches: PictureBatches, device: torch.device) -> dict[str, np.ndarray]:
    """Run a model over the test pictures, in full precision.

    Returns:
        Arrays by name: `classes`, their names; `labels` and `predicted` of each test picture, `[N]` or, for sequences,
        `[N, T]`, and `probability [N]` of the prediction as a whole; `mean_before` and `mean_after [classes, C, H, W]`,
        the mean picture of each class, of sequences the mean of those in which it is; pictures `gallery_*` (the first
        of the test set) and `worst_*` (the errors the model was most sure of), with `*_outline [n, 9, 9, 2]`, where the
        straightened picture lies in the input; and, where they are known, `pose_learned` and `pose_true [n, 4]`:
        rotation in radians, log-scale and centre (x, y), of about 2000 pictures.

        Of a model with spatial transformers, also what `turn` gives; of pictures that are distorted, for those of the
        first batch that were turned least.

        With K maps of each picture, `*_output`, `*_outline`, `pose_learned` and `mean_after` have an axis K after their
        first; but where each crop has a label of its own, `mean_after` is the mean of the crops of a class. Of A
        pictures that were added up, `pose_true` has an axis A there. Volumes are shown from the front; of their
        rotation the size is known.
    """
    model = model.to(device).eval()
    classes = len(batches.classes)
    columns: dict[str, list[Tensor]] = {name: [] for name in ("labels", "predicted", "probability")}
    learned, true = [], []
    sums: list[Any] = [0.0, 0.0]
    counts = torch.zeros(classes)
    gallery: dict[str, Tensor] = {}
    turning = torch.empty(0)
    worst: dict[str, Tensor] = {}
    for images, labels, seed in batches.test_dataloader():
        batch = batches.distort(images.to(device), labels.to(device), seed)
        seen = model.straighten(batch.images)
        each, predicted = model.classify(seen).float().softmax(-1).max(-1)
        probability = each.reshape(len(each), -1).prod(1)
        for name, column in zip(columns, (batch.labels, predicted, probability), strict=True):
            columns[name].append(column.cpu())
        members = torch.nn.functional.one_hot(batch.labels, classes).float()
        counts += members.flatten(0, -2).sum(0).cpu()
        of_pictures = members.reshape(len(members), -1, classes).sum(1)
        of_crops = members if model.labels_each_crop else of_pictures
        before, after = seen_from_front(batch.images).float(), seen.picture.float()
        for which, (owners, pictures) in enumerate(((of_pictures, before), (of_crops, after))):
            sums[which] = sums[which] + _sum_by_class(owners, pictures).cpu()
        shown = {
            "input": before.cpu(),
            "output": after.cpu(),
            "label": batch.labels.cpu(),
            "predicted": predicted.cpu(),
            "probability": probability.cpu(),
        }
        if seen.pull is not None:
            shown["outline"] = _outline(seen.pull).cpu()
            if batch.pull is not None and len(learned) * len(labels) < _POSES:
                size = batch.images.shape[2:]
                learned.append(_pose(seen.pull, size).cpu())
                true.append(_pose(batch.pull, size, inverse=True).cpu())
        if not gallery:
            gallery = {name: value[:_GALLERY] for name, value in shown.items()}
            turning = before[_least_turned(batch.pull, batch.images.shape)]
        wrong = (shown["predicted"] != shown["label"]).reshape(len(labels), -1).any(1)
        worst = {
            name: torch.cat([worst[name], value[wrong]]) if worst else value[wrong] for name, value in shown.items()
        }
        keep = worst["probability"].argsort(descending=True)[:_GALLERY]
        worst = {name: value[keep] for name, value in worst.items()}

    arrays = {name: torch.cat(column).numpy() for name, column in columns.items()}
    arrays["classes"] = np.array(batches.classes)
    for name, total in zip(("mean_before", "mean_after"), sums, strict=True):
        arrays[name] = (total / counts.clamp_min(1).reshape(-1, *(1,) * (total.ndim - 1))).numpy()
    arrays |= {f"gallery_{name}": value.numpy() for name, value in gallery.items()}
    arrays |= {f"worst_{name}": value.numpy() for name, value in worst.items()}
    if "outline" in gallery and len(batches.image_shape) == 3:
        arrays |= turn(model, turning)
    if learned:
        arrays |= {"pose_learned": torch.cat(learned).numpy(), "pose_true": torch.cat(true).numpy()}
    return arrays


def error_percent(arrays: dict[str, np.ndarray]) -> float:
    """Share of wrong labels of an evaluation, in percent; of sequences each label counts."""
    return 100 * float((arrays["labels"] != arrays["predicted"]).mean())


def spelled(labels: np.ndarray, classes: Sequence[str]) -> str:
    """One label, or a sequence `[T]` of them, in words."""
    names = [classes[int(label)] for label in labels.reshape(-1)]
    return ("" if all(len(name) == 1 for name in names) else " ").join(names)


def save_evaluation(arrays: dict[str, np.ndarray], file: Path) -> None:
    """Keep an evaluation beside its model; it is there once it is complete."""
    with replacing(file) as partial, partial.open("wb") as archive:
        np.savez_compressed(archive, allow_pickle=False, **arrays)


def load_evaluation(file: Path) -> dict[str, np.ndarray]:
    """Read an evaluation back. ValueError if it is not there or broken."""
    if not file.is_file():
        raise ValueError(f"run: wanted a finished run, but {file} is missing; train it to the end first")
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except DAMAGE as error:
        raise ValueError(f"run: wanted an evaluation in {file}, got {error}") from error


def _sum_by_class(members: Tensor, pictures: Tensor) -> Tensor:
    """The sum `[classes, ...]` of the `pictures [N, ...]` of each class, of which `members [N, classes]` are one.

    With `members [N, T, classes]`, of the T crops `[N, T, ...]` of each picture.
    """
    leading = "n" if members.ndim == 2 else "nt"
    return torch.einsum(f"{leading}k,{leading}...->k...", members, pictures)


def _outline(pull: Map) -> Tensor:
    """Where the output, or the middle of its depth, lies in the input, seen from the front: `[*batch, 9, 9, 2]`."""
    grid, after = pull.grid((*(1,) * (pull.ndim - 2), *_OUTLINE)), len(pull.batch)
    return grid.flatten(after, -2).unflatten(after, _OUTLINE)[..., :2]


def _least_turned(pull: Map | None, shape: Sequence[int]) -> Tensor:
    """Which of pictures of that shape: turned further they are still like what was learned from."""
    if pull is None:
        return torch.arange(min(shape[0], _TURNING))
    angles = mean_rotation(pull, shape[2:]).abs().reshape(shape[0], -1).amax(1)
    return angles.argsort()[:_TURNING].cpu()


def _pose(pull: Map, size: Sequence[int], *, inverse: bool = False) -> Tensor:
    """Rotation in pixels of pictures of that size, log-scale and centre of the part of the input that a map shows.

    Or of its inverse, if asked for.
    """
    if inverse and isinstance(pull, LinearMap):
        pull, inverse = pull.inverse(), False
    diagnosis = diagnose(pull, (_OUTLINE[0],) * pull.ndim)
    origin = torch.zeros(*(1 for _ in pull.batch), 1, pull.ndim, device=pull.device, dtype=pull.dtype)
    centre = pull(origin)[..., 0, :2]
    sign = -1 if inverse else 1
    if inverse:  # no closed form: rotation and scale of the inverse are known all the same, its centre is not
        centre = torch.full_like(centre, float("nan"))
    return torch.stack([sign * mean_rotation(pull, size), sign * diagnosis.scale.log(), *centre.unbind(-1)], dim=-1)
