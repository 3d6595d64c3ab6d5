"""The transforms by name."""

import math
from collections.abc import Callable
from typing import Any

from unwarp.checks import check_choice, check_ndim
from unwarp.transforms import (
    Affine,
    Attention,
    Bounded,
    Projective,
    Rotation,
    Similarity,
    ThinPlateSpline,
    Transform,
    Translation,
)

_LINEAR: dict[str, Callable[[int], Transform]] = {
    "translation": Translation,
    "attention": Attention,
    "rotation": Rotation,
    "similarity": Similarity,
    "affine": Affine,
    "projective": Projective,
}
TRANSFORMS = (*_LINEAR, "tps")

# Wide enough for everything the recipes do to a picture, narrow enough that a picture stays in sight.
BOUNDS: dict[str, Any] = {
    "scale": (0.25, 2.5),
    "angle": math.pi,
    "shear": 1.0,
    "translation": 1.0,
    "perspective": 0.4,
    "offset": 0.5,
}
# Entries of the last row that together stay so far from 1 keep the horizon outside.
_HORIZON = 0.8


def build_transform(name: str, ndim: int = 2, *, bounded: bool = False, regularization: float = 0.0) -> Transform:
    """The transform of that name, of `TRANSFORMS`; "tps" has 4 points along each axis.

    `bounded` keeps it within `BOUNDS`.
    """
    check_choice("transform", name, TRANSFORMS)
    check_ndim(ndim)
    if name == "tps":
        transform: Transform = ThinPlateSpline((4,) * ndim, regularization=regularization)
    else:
        transform = _LINEAR[name](ndim)
    if not bounded:
        return transform
    bounds = {kind: bound for kind, bound in BOUNDS.items() if kind in transform.kinds}
    if "perspective" in bounds:
        bounds["perspective"] = min(bounds["perspective"], _HORIZON / ndim)
    return Bounded(transform, **bounds)
