"""Networks: a file per paper network, and the classifier that puts spatial transformers before any of them."""

from unwarp.models.backbone import import_backbone
from unwarp.models.build import MODELS, build_model, has_transformers
from unwarp.models.classifier import Classifier, Straightened
from unwarp.models.side_by_side import PARALLEL
from unwarp.models.transforms import TRANSFORMS, build_transform

__all__ = [
    "MODELS",
    "PARALLEL",
    "TRANSFORMS",
    "Classifier",
    "Straightened",
    "build_model",
    "build_transform",
    "has_transformers",
    "import_backbone",
]
