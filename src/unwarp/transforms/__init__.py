"""What the numbers theta mean: families of maps."""

from unwarp.transforms.base import Transform, check_transform
from unwarp.transforms.bounded import Bounded
from unwarp.transforms.linear import Affine, Attention, Projective, Rotation, Similarity, Translation
from unwarp.transforms.thin_plate import ThinPlateSpline

__all__ = [
    "Affine",
    "Attention",
    "Bounded",
    "Projective",
    "Rotation",
    "Similarity",
    "ThinPlateSpline",
    "Transform",
    "Translation",
    "check_transform",
]
