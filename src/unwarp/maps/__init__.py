"""Functions from output to input coordinates: batched, differentiable, composable."""

from unwarp.maps.base import Map, check_map
from unwarp.maps.chain import ChainMap, compose
from unwarp.maps.linear import LinearMap
from unwarp.maps.spline import SplineMap

__all__ = ["ChainMap", "LinearMap", "Map", "SplineMap", "check_map", "compose"]
