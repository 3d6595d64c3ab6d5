"""Modules: the spatial transformer, the networks that predict theta, and what to watch while they train."""

from unwarp.nn.cascade import Cascade, Cascaded
from unwarp.nn.diagnostics import CollapseWarning, Diagnosis, diagnose, mean_rotation, warn_if_collapsed, watch
from unwarp.nn.end_symbol import AFTER_END, Read, read_until_end, with_end
from unwarp.nn.groups import parameter_groups
from unwarp.nn.localization import (
    CentroidLocalization,
    Localization,
    centroid,
    convolutional,
    fully_connected,
)
from unwarp.nn.parallel import ParallelLocalization, PerMap, tiles
from unwarp.nn.probabilistic import ProbabilisticLocalization, ThetaDistribution, average_predictions
from unwarp.nn.projection import PROJECTIONS, Projection, project, seen_from_front
from unwarp.nn.recurrent import RecurrentFeatures, pooled_convolutions, recurrent
from unwarp.nn.spatial_transformer import Aligned, SpatialTransformer

__all__ = [
    "AFTER_END",
    "PROJECTIONS",
    "Aligned",
    "Cascade",
    "Cascaded",
    "CentroidLocalization",
    "CollapseWarning",
    "Diagnosis",
    "Localization",
    "ParallelLocalization",
    "PerMap",
    "ProbabilisticLocalization",
    "Projection",
    "Read",
    "RecurrentFeatures",
    "SpatialTransformer",
    "ThetaDistribution",
    "average_predictions",
    "centroid",
    "convolutional",
    "diagnose",
    "fully_connected",
    "mean_rotation",
    "parameter_groups",
    "pooled_convolutions",
    "project",
    "read_until_end",
    "recurrent",
    "seen_from_front",
    "tiles",
    "warn_if_collapsed",
    "watch",
    "with_end",
]
