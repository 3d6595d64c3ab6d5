"""Terms to add to a task's loss: they take maps, never modules."""

from unwarp.losses.consistency import inverse_consistency, transformation_consistency
from unwarp.losses.regularization import bending_energy, identity_prior, outside, shrinkage
from unwarp.losses.triplet import triplet_hinge

__all__ = [
    "bending_energy",
    "identity_prior",
    "inverse_consistency",
    "outside",
    "shrinkage",
    "transformation_consistency",
    "triplet_hinge",
]
