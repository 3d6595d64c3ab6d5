"""Networks: a file per paper network, and the classifier that puts spatial transformers before any of them."""

from unwarp.models.build import MODELS, PARALLEL, TRANSFORMS, build_model, build_transform, has_transformers
from unwarp.models.classifier import Classifier, Straightened

__all__ = [
    "MODELS",
    "PARALLEL",
    "TRANSFORMS",
    "Classifier",
    "Straightened",
    "build_model",
    "build_transform",
    "has_transformers",
]
