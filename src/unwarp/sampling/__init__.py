"""Image + coordinates -> image. Knows no map, no theta and no module."""

from unwarp.sampling.modes import MODES, PADDINGS
from unwarp.sampling.ops import sample

__all__ = ["MODES", "PADDINGS", "sample"]
