"""How much two regions have in common."""

from itertools import product

import torch
from torch import Tensor

from unwarp.checks import check_coordinates
from unwarp.maps import Map, check_map


def box_overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union `[...]`, 0 to 1, of boxes `[..., 2, D]`: their lowest and their highest corner.

    Any unit; the leading axes broadcast. Two boxes without extent have an overlap of 0.

    Raises:
        TypeError, ValueError: for boxes that are not of this form, or of different dimensions.
    """
    for name, box in (("a", a), ("b", b)):
        check_coordinates(name, box)
        if box.ndim < 2 or box.shape[-2] != 2:
            raise ValueError(f"{name}: wanted boxes [..., 2, D], got {list(box.shape)}")
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"b: wanted boxes of {a.shape[-1]} dimensions like a, got {b.shape[-1]}")
    common = torch.minimum(a[..., 1, :], b[..., 1, :]) - torch.maximum(a[..., 0, :], b[..., 0, :])
    intersection = common.clamp_min(0).prod(-1)
    union = _volume(a) + _volume(b) - intersection
    return torch.where(union > 0, intersection / union.clamp_min(torch.finfo(union.dtype).tiny), union)


def box_of(pull: Map) -> Tensor:
    """The smallest box `[*batch, 2, D]`, normalised, around the corners of what a map shows of its input."""
    check_map("pull", pull)
    corners = torch.tensor(list(product((-1.0, 1.0), repeat=pull.ndim)), dtype=pull.dtype, device=pull.device)
    seen = pull(corners.reshape(*(1 for _ in pull.batch), -1, pull.ndim))
    return torch.stack([seen.amin(-2), seen.amax(-2)], dim=-2)


def _volume(box: Tensor) -> Tensor:
    return (box[..., 1, :] - box[..., 0, :]).clamp_min(0).prod(-1)
