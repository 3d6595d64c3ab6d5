"""Networks: a file per paper network, and the classifier that puts spatial transformers before any of them."""

from unwarp.models.build import MODELS, TRANSFORMS, build_model, build_transform
from unwarp.models.classifier import Classifier, Straightened

__all__ = ["MODELS", "TRANSFORMS", "Classifier", "Straightened", "build_model", "build_transform"]
