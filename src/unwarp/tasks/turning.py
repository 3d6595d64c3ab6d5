"""Pictures turned to and fro, and how still a model holds them."""

import math

import numpy as np
import torch
from torch import Tensor

from unwarp.models import Classifier
from unwarp.tasks.progress import to_uint8
from unwarp.transforms import Rotation
from unwarp.warping import warp

_FRAMES = 24
_REACH = math.radians(45)


@torch.no_grad()
def turn(model: Classifier, pictures: Tensor) -> dict[str, np.ndarray]:
    """What a model makes of `pictures [n, C, H, W]`, turned about their centres by up to 45° each way.

    Returns:
        Arrays by name: `turning_angle [F]`, in degrees; `turning_input [F, n, C, H, W]`; and `turning_output`
        `[F, n, C, h, w]`, or `[F, n, K, C, h, w]` for K maps of each picture. Pictures are uint8.
    """
    angles = _REACH * torch.sin(2 * math.pi * torch.arange(_FRAMES, device=pictures.device) / _FRAMES)
    turned = [warp(pictures, Rotation()(angle.expand(len(pictures), 1))) for angle in angles]
    return {
        "turning_angle": angles.rad2deg().cpu().numpy(),
        "turning_input": np.stack([to_uint8(images) for images in turned]),
        "turning_output": np.stack([to_uint8(model.straighten(images).picture) for images in turned]),
    }
