"""Sequences of any length: one more class, the last, says that a sequence is over."""

from typing import NamedTuple

import torch
from torch import Tensor

from unwarp.checks import check_count, check_tensor

# What torch.nn.functional.cross_entropy leaves out if not told otherwise.
AFTER_END = -100


class Read(NamedTuple):
    """Sequences up to their end: `labels [N, T]`, `AFTER_END` from the end on, and `lengths [N]`, int64."""

    labels: Tensor
    lengths: Tensor


def with_end(labels: Tensor, lengths: Tensor, num_classes: int) -> Tensor:
    """Targets for logits `[N, T, num_classes + 1]`: each sequence, the end symbol `num_classes`, then `AFTER_END`.

    `F.cross_entropy(logits.flatten(0, 1), targets.flatten())` is then the mean over all steps up to the end, and what
    comes after it has no gradient. A sequence as long as T has no end symbol.

    Args:
        labels: `[N, T]` int64; what stands after the length is not read.
        lengths: `[N]` int64, 0 to T.
        num_classes: without the end symbol.

    Returns:
        `[N, T]` int64.

    Raises:
        TypeError, ValueError: if these are not of that form, or a label within its length is no class.
    """
    check_tensor("labels", labels)
    check_tensor("lengths", lengths)
    check_count("num_classes", num_classes)
    if labels.ndim != 2 or labels.dtype != torch.int64:
        raise ValueError(f"labels: wanted int64 [N, T], got {labels.dtype} {list(labels.shape)}")
    if lengths.shape != labels.shape[:1] or lengths.dtype != torch.int64:
        raise ValueError(f"lengths: wanted int64 [{len(labels)}], got {lengths.dtype} {list(lengths.shape)}")
    if ((lengths < 0) | (lengths > labels.shape[1])).any():
        raise ValueError(f"lengths: wanted 0 to {labels.shape[1]}, got {lengths.tolist()}")
    left = lengths[:, None] - torch.arange(labels.shape[1], device=labels.device)
    inside = labels[left > 0]
    if ((inside < 0) | (inside >= num_classes)).any():
        raise ValueError(f"labels: wanted 0 to {num_classes - 1} within the lengths, got {inside.unique().tolist()}")
    return labels.where(left > 0, torch.full_like(labels, num_classes)).masked_fill(left < 0, AFTER_END)


def read_until_end(logits: Tensor) -> Read:
    """The likeliest class at each step of `logits [N, T, num_classes + 1]`, up to the first end symbol.

    Raises:
        TypeError, ValueError: if the logits are not of that form.
    """
    check_tensor("logits", logits)
    if logits.ndim != 3 or logits.shape[2] < 2:
        raise ValueError(f"logits: wanted [N, T, num_classes + 1], got {list(logits.shape)}")
    labels = logits.argmax(2)
    over = (labels == logits.shape[2] - 1).cumsum(1) > 0
    return Read(labels.masked_fill(over, AFTER_END), (~over).sum(1))
