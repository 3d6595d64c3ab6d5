"""Spatial transformers: networks that learn to undo the pose of what they see.

The public names are loaded on first use (PEP 562), so that importing the package does not pay for torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unwarp.maps import ChainMap, LinearMap, Map, SplineMap
    from unwarp.nn import Cascade, SpatialTransformer, diagnose
    from unwarp.sampling import sample
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
    from unwarp.warping import inside_mask, warp, warp_adjoint

try:
    __version__ = version("unwarp")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_HOME = {
    "Affine": "transforms",
    "Attention": "transforms",
    "Bounded": "transforms",
    "Cascade": "nn",
    "ChainMap": "maps",
    "LinearMap": "maps",
    "Map": "maps",
    "Projective": "transforms",
    "Rotation": "transforms",
    "Similarity": "transforms",
    "SpatialTransformer": "nn",
    "SplineMap": "maps",
    "ThinPlateSpline": "transforms",
    "Transform": "transforms",
    "Translation": "transforms",
    "diagnose": "nn",
    "inside_mask": "warping",
    "sample": "sampling",
    "warp": "warping",
    "warp_adjoint": "warping",
}

__all__ = [
    "Affine",
    "Attention",
    "Bounded",
    "Cascade",
    "ChainMap",
    "LinearMap",
    "Map",
    "Projective",
    "Rotation",
    "Similarity",
    "SpatialTransformer",
    "SplineMap",
    "ThinPlateSpline",
    "Transform",
    "Translation",
    "__version__",
    "diagnose",
    "inside_mask",
    "sample",
    "warp",
    "warp_adjoint",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'unwarp' has no attribute {name!r}")
    value = getattr(import_module(f"unwarp.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
