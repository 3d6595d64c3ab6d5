"""Image + coordinates -> image. Knows no map, no theta and no module."""

from unwarp.sampling.antialias import footprints_of_map
from unwarp.sampling.functional import check_same_device, paddings_of, sample, sample_adjoint_at, sample_at
from unwarp.sampling.modes import MODES, PADDINGS

__all__ = [
    "MODES",
    "PADDINGS",
    "check_same_device",
    "footprints_of_map",
    "paddings_of",
    "sample",
    "sample_adjoint_at",
    "sample_at",
]
