"""Pictures turned to and fro, and how still a model holds them."""

import math

import numpy as np
import torch
from torch import Tensor

from unwarp.coordinates import extents
from unwarp.maps import LinearMap
from unwarp.models import Classifier
from unwarp.tasks.progress import to_uint8
from unwarp.transforms.linear import rotation_matrix
from unwarp.warping import warp

_FRAMES = 24
_REACH = math.radians(45)


def _turn(angle: Tensor, pictures: Tensor) -> LinearMap:
    """A rotation in pixels, however wide `pictures [n, C, H, W]` are."""
    linear = rotation_matrix(angle.expand(len(pictures), 1), 2)
    extent = extents(linear, pictures.shape[2:])
    linear = linear * (extent / extent.unsqueeze(-1))
    return LinearMap(torch.cat([linear, torch.zeros_like(linear[..., :1])], dim=-1))


@torch.no_grad()
def turn(model: Classifier, pictures: Tensor) -> dict[str, np.ndarray]:
    """What a model makes of `pictures [n, C, H, W]`, turned about their centres by up to 45° each way.

    Returns:
        Arrays by name: `turning_angle [F]`, in degrees; `turning_input [F, n, C, H, W]`; and `turning_output`
        `[F, n, C, h, w]`, or `[F, n, K, C, h, w]` for K maps of each picture. Pictures are uint8.
    """
    angles = _REACH * torch.sin(2 * math.pi * torch.arange(_FRAMES, device=pictures.device) / _FRAMES)
    turned = [warp(pictures, _turn(angle, pictures)) for angle in angles]
    return {
        "turning_angle": angles.rad2deg().cpu().numpy(),
        "turning_input": np.stack([to_uint8(images) for images in turned]),
        "turning_output": np.stack([to_uint8(model.straighten(images).picture) for images in turned]),
    }
