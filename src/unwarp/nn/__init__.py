"""Modules: the spatial transformer, the networks that predict theta, and what to watch while they train."""

from unwarp.nn.cascade import Cascade, Cascaded
from unwarp.nn.diagnostics import CollapseWarning, Diagnosis, diagnose, warn_if_collapsed
from unwarp.nn.localization import Localization, convolutional, fully_connected, parameter_groups
from unwarp.nn.probabilistic import ProbabilisticLocalization, ThetaDistribution, average_predictions
from unwarp.nn.spatial_transformer import Aligned, SpatialTransformer

__all__ = [
    "Aligned",
    "Cascade",
    "Cascaded",
    "CollapseWarning",
    "Diagnosis",
    "Localization",
    "ProbabilisticLocalization",
    "SpatialTransformer",
    "ThetaDistribution",
    "average_predictions",
    "convolutional",
    "diagnose",
    "fully_connected",
    "parameter_groups",
    "warn_if_collapsed",
]
