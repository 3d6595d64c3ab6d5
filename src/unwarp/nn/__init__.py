"""Modules: the spatial transformer, the networks that predict theta, and what to watch while they train."""

from unwarp.nn.cascade import Cascade, Cascaded
from unwarp.nn.diagnostics import CollapseWarning, Diagnosis, diagnose, warn_if_collapsed
from unwarp.nn.localization import (
    CentroidLocalization,
    Localization,
    centroid,
    convolutional,
    fully_connected,
    parameter_groups,
)
from unwarp.nn.probabilistic import ProbabilisticLocalization, ThetaDistribution, average_predictions
from unwarp.nn.projection import PROJECTIONS, Projection, project, seen_from_front
from unwarp.nn.spatial_transformer import Aligned, SpatialTransformer

__all__ = [
    "PROJECTIONS",
    "Aligned",
    "Cascade",
    "Cascaded",
    "CentroidLocalization",
    "CollapseWarning",
    "Diagnosis",
    "Localization",
    "ProbabilisticLocalization",
    "Projection",
    "SpatialTransformer",
    "ThetaDistribution",
    "average_predictions",
    "centroid",
    "convolutional",
    "diagnose",
    "fully_connected",
    "parameter_groups",
    "project",
    "seen_from_front",
    "warn_if_collapsed",
]
