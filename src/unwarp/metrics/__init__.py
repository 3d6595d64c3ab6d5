"""How good a result is, in numbers; nothing here is trained on."""

from unwarp.metrics.overlap import box_of, box_overlap

__all__ = ["box_of", "box_overlap"]
