"""Every option of a classification run: the command line's, the recipes' and the saved configuration's one source."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

# A step's own seed is a million times that, and more.
_LARGEST_SEED = 2**32 - 1


def option(default: Any, text: str, *, least: float | None = None, most: float = math.inf) -> Any:
    """A dataclass field with a help text that the command line shows, and perhaps a least and a largest value."""
    return field(default=default, metadata={"help": text, "least": least, "most": most})


class _Checked:
    def __post_init__(self) -> None:
        for entry in fields(self):  # pyright: ignore[reportArgumentType]
            least, most, value = entry.metadata["least"], entry.metadata["most"], getattr(self, entry.name)
            if least is None or (value is None and entry.default is None):
                continue
            if not isinstance(value, (int, float)) or not least <= value <= most or math.isinf(value):
                limit = "" if math.isinf(most) else f" and at most {most}"
                raise ValueError(f"{entry.name}: wanted a number of at least {least}{limit}, got {value!r}")


@dataclass(frozen=True)
class DataOptions(_Checked):
    """What to learn from."""

    data: str = option(
        "digits",
        "digits, mnist, mnist-sequences, birds, a folder with a sub-folder of pictures per class, or a file .npz",
    )
    distortion: Literal["none", "r", "rts", "p", "e", "tc", "h", "extruded"] = option(
        "none",
        "what to do to every picture: none, or a distortion of the paper (see the guide); extruded makes a volume",
    )
    size: int | None = option(None, "width and height that pictures are brought to; folders: 48 if not given", least=1)
    channels: Literal[1, 3] | None = option(None, "1 for grey, 3 for colour; found out if not given")
    canvas: int | None = option(
        None, "width and height of distorted pictures; the paper's if not given, volumes: 32", least=1
    )
    patches: int = option(6, "clutter patches per picture (distortion tc)", least=0)
    patch_size: int | None = option(None, "their width in pixels; the paper's if not given", least=1)
    labels: int | None = option(
        None, "learn from that many of the training pictures only, as many of each class, drawn by the seed", least=1
    )
    addends: int = option(
        1,
        "how many pictures, distorted each by itself in channels of its own, make one; its class is their sum",
        least=1,
    )
    augment: bool = option(True, "new distortions, or small moves, for the training pictures in every epoch")
    bend: float = option(
        0.0, "where augmented, also bent: 4×4 points of a spline move by a normal of so many pixels", least=0
    )
    strict: bool = option(False, "fail on an unreadable picture instead of skipping it")


@dataclass(frozen=True)
class ModelOptions(_Checked):
    """What learns."""

    model: str = option(
        "convnet,st-convnet",
        "comma-separated, trained one after the other: fcn, cnn, convnet; behind a spatial transformer st-fcn, st-cnn, "
        "st-convnet, a probabilistic one pst-fcn, pst-cnn, pst-convnet, two side by side 2st-fcn, 2st-cnn, 2st-convnet "
        "or four 4st-fcn, 4st-cnn, 4st-convnet; with one before each of the first four convolutions multi-st-cnn, "
        "multi-st-convnet; smaller ones lin-cnn, st-lin-cnn; for sequences of labels also sequence-cnn, "
        "st-sequence-cnn, st-recurrent",
    )
    transform: Literal["translation", "attention", "rotation", "similarity", "affine", "projective", "tps"] = option(
        "affine", "what the spatial transformer may do to a picture"
    )
    bounded: bool = option(False, "keep scale, angle, translation, ... of the transform within a sensible range")
    look: bool = option(
        False, "begin with a transformer that shifts to the centroid of a heatmap: finds an object in a large picture"
    )
    transformers: int = option(1, "how many spatial transformers follow (each other); 0 only after --look", least=0)
    passes: int | None = option(
        None, "how often they are gone through, each time correcting what the straightened picture shows", least=1
    )
    parallel: Literal["channels", "crops", "shared-crops"] = option(
        "channels",
        "what becomes of the outputs of transformers side by side (2st-..., 4st-...): channels of one network, or "
        "crops that begin on tiles of the picture, with a network each or one for all",
    )
    crop: int | None = option(
        None, "width and height of the straightened picture; that of the input if not given", least=1
    )
    leash: float = option(1.0, "pull back a transformer that has left the picture; 0 is off", least=0)
    window: float = option(
        1.0, "width of the part of the picture, around its centre, that a transformer starts with", least=0.01
    )
    jitter: float = option(
        0.0, "random moves of what the last transformer shows, in training: shift, shear, turn, log-scale", least=0
    )
    samples: int = option(10, "how many maps a probabilistic transformer draws when it is measured", least=1)
    projection: Literal["sum", "max"] = option("sum", "how a straightened volume becomes a picture")
    parameters: int = option(400_000, "about how many parameters the paper's networks (fcn, cnn) have", least=1)
    dropout: float = option(0.0, "before the last layer of the classifier", least=0, most=1)
    normalize: bool = option(False, "batch normalisation in the paper's networks and their localization networks")
    backbone: str | None = option(
        None,
        "your own network: import path package.module:Class, called as Class(in_shape, num_outputs); or timm:NAME, one "
        "of timm with its weights",
    )


@dataclass(frozen=True)
class TrainingOptions(_Checked):
    """How it learns."""

    epochs: int = option(30, "passes over the training pictures", least=1)
    batch_size: int = option(128, "pictures in a training batch, over all devices together", least=2)
    optimizer: Literal["adamw", "sgd"] = option("adamw", "adamw, or sgd with momentum 0.9")
    lr: float = option(4e-3, "highest learning rate", least=1e-12)
    localization_factor: float = option(0.3, "times that for the localization networks", least=0)
    schedule: Literal["onecycle", "cosine", "step", "constant"] = option(
        "onecycle", "of the learning rate; step is a tenth after each third"
    )
    weight_decay: float = option(0.01, "of the optimiser", least=0)
    label_smoothing: float = option(0.0, "of the cross-entropy", least=0, most=1)
    clip: float = option(0.0, "largest norm of the gradient; 0 is no limit", least=0)
    consistency: float = option(0.0, "weight of transformation consistency under random similarities", least=0)
    identity_prior: float = option(0.0, "weight of the squared distance of the map from the identity", least=0)
    outside: float = option(0.0, "weight of the penalty on samples outside the picture", least=0)
    shrinkage: float = option(0.0, "weight of the penalty on zooming in beyond half the picture", least=0)
    bending: float = option(0.0, "weight of the bending energy (transform tps)", least=0)
    divergence: float = option(
        1e-4, "weight of the divergence of a distribution of theta from its prior (pst- models)", least=0
    )
    prior_spread: float = option(1.0, "spread of theta in that prior", least=1e-6)
    validate: Literal["each", "last"] = option(
        "each", "measure the validation error after each epoch and keep the best, or after the last one only"
    )
    patience: int = option(0, "stop after that many epochs without a better validation error; 0 is never", least=0)


@dataclass(frozen=True)
class RunOptions(_Checked):
    """Where and on what it runs."""

    name: str | None = option(None, "folder of the run under --out; the recipe's name if not given")
    out: str = option("runs", "where runs are kept")
    seed: int = option(0, "of everything random but the validation and test pictures", least=0, most=_LARGEST_SEED)
    precision: Literal["auto", "32", "bf16", "16"] = option(
        "auto", "of the networks, never of coordinates; auto is bf16 where the processor multiplies in it"
    )
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = option("auto", "what to run on")
    devices: int = option(1, "how many of them, on each machine", least=1)
    num_nodes: int = option(1, "machines", least=1)


@dataclass(frozen=True)
class ColocaliseOptions(_Checked):
    """How to find a digit without labels or boxes."""

    pictures: int = option(100, "pictures of the digit", least=2)
    clutter: int = option(0, "patches of 6×6 of other digits in each picture; the paper's are 16", least=0)
    epochs: int = option(30, "rounds of training; what was found is kept after each", least=1)
    steps: int = option(10, "steps in an epoch, each with all pictures", least=1)
    starts: int = option(
        3, "most attempts for a digit; the next begins where one ends without having found it", least=1
    )
    lr: float = option(5e-3, "learning rate", least=0)
    margin: float = option(1.0, "of the triplet hinge loss", least=0)
    encoder_epochs: int = option(1, "passes over the digits for the network that tells what looks alike", least=1)
    parameters: int = option(100_000, "about how many that network has", least=1)
    seed: int = option(0, "of everything random", least=0, most=_LARGEST_SEED)


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


@dataclass(frozen=True)
class Options:
    """A whole classification run."""

    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    run: RunOptions = field(default_factory=RunOptions)

    def __post_init__(self) -> None:
        model, training = self.model, self.training
        if not model.transformers and not model.look:
            raise ValueError("transformers: wanted at least 1 without look, got 0")
        # With more than that there is a chain of maps, whose bending energy is not known.
        alone = {"transform": "tps", "transformers": 1, "look": False, "window": 1, "jitter": 0, "passes": 1}
        got = {name: getattr(model, name) for name in alone}
        if training.bending and got | {"passes": model.passes or 1} != alone:
            raise ValueError(f"bending: wanted it with {_words(alone)}, got {_words(got)}")
        if training.consistency and model.jitter:
            raise ValueError(
                f"consistency: wanted jitter=0 with it, whose moves are not to be undone, got {model.jitter}"
            )
        if training.patience and training.validate == "last":
            raise ValueError("patience: wanted validate=each with it, got validate=last")

    def flat(self) -> dict[str, Any]:
        """Every option by its name."""
        return {key: value for group in fields(self) for key, value in vars(getattr(self, group.name)).items()}

    @classmethod
    def of(cls, flat: dict[str, Any]) -> "Options":
        """The options of a dictionary of names and values; those not named have their default.

        Raises:
            ValueError: for a name that is no option.
        """
        groups = {}
        left = dict(flat)
        for group in fields(cls):
            kind: Any = group.default_factory
            groups[group.name] = kind(**{f.name: left.pop(f.name) for f in fields(kind) if f.name in left})
        if left:
            raise ValueError(f"options: wanted known names only, got {', '.join(sorted(left))}")
        return cls(**groups)
