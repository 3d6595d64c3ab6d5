"""The folder of a run: what is in it and how it is read back.

| in runs/NAME/          | what |
|---|---|
| config.yaml            | every option |
| interface.json         | the images the models take, their classes, and which pictures there were |
| results.json           | a record for each finished model |
| MODEL/best.ckpt        | the weights with the least validation error |
| MODEL/last.ckpt        | to resume from; interrupted.ckpt, if it was stopped within an epoch |
| MODEL/trained.json     | what there is to say of its training, once that has ended |
| MODEL/logs/            | what was logged, epoch by epoch; tensorboard/ has the same |
| MODEL/evaluation.npz   | what the report shows |
| MODEL/film/NNNN.npy    | the same pictures straightened after each epoch |
| .lock                  | held by the process that trains there |
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from unwarp.checks import check_choice
from unwarp.data import Splits, load
from unwarp.data.batches import PictureBatches
from unwarp.data.distort import Distortion
from unwarp.data.extrude import Extrusion
from unwarp.data.pictures import few_of_each
from unwarp.models import MODELS
from unwarp.tasks.files import replacing
from unwarp.tasks.options import Options

LOGS = "logs"
_CONFIG, _INTERFACE, _RESULTS = "config.yaml", "interface.json", "results.json"


@dataclass(frozen=True)
class RunFolder:
    """A run on disk.

    Attributes:
        path: its folder.
        options: what it was told to do.
        new: whether its folder has to be.
    """

    path: Path
    options: Options
    new: bool = False

    @classmethod
    def create(cls, path: Path, options: Options) -> "RunFolder":
        """A new run; nothing is written before `begin`. ValueError if the folder is there already."""
        if path.exists():
            raise ValueError(
                f"name: wanted a new run, but {path} exists; go on with --resume {path} or choose a --name"
            )
        return cls(path, options, new=True)

    @classmethod
    def open(cls, path: str | Path, *, backbone: str | None = None) -> "RunFolder":
        """Read a run back.

        Args:
            path: its folder.
            backbone: the user's own network, if the run has one. A folder may come from a stranger: the code to run is
                never taken from it.

        Raises:
            ValueError: if the folder is none, its configuration cannot be read, or it has another backbone.
        """
        path = Path(path)
        if not (path / _CONFIG).is_file():
            raise ValueError(f"run: wanted the folder of a run, with {_CONFIG} in it; got {path}")
        options = _saved_options(path / _CONFIG)
        if options.model.backbone != backbone:
            raise ValueError(f"backbone: wanted --backbone {options.model.backbone}, which {path} has; got {backbone}")
        return cls(path, options)

    @property
    def models(self) -> tuple[str, ...]:
        """The models this run trains, in order."""
        return model_names(self.options.model.model)

    def folder(self, model: str) -> Path:
        """Where one model's files are."""
        return self.path / model

    def log_files(self, model: str) -> list[Path]:
        """The tables of what was logged while a model trained, one for each time it was started, in order."""
        folders = (self.folder(model) / LOGS).glob("version_*")
        return [folder / "metrics.csv" for folder in sorted(folders, key=lambda f: int(f.name.partition("_")[2]))]

    def results(self) -> dict[str, dict[str, Any]]:
        """The records of the models that are finished, by name."""
        file = self.path / _RESULTS
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def add_result(self, model: str, record: dict[str, Any]) -> None:
        """Keep the record of a finished model."""
        text = json.dumps(self.results() | {model: record}, indent=2)
        with replacing(self.path / _RESULTS) as partial:
            partial.write_text(text + "\n", encoding="utf-8")

    def begin(self, splits: Splits, batches: PictureBatches) -> None:
        """Write the options, and what the models take and give: see `interface`.

        Raises:
            ValueError: for a new run, if the folder has meanwhile become that of another; or see `check_pictures`.
        """
        if self.new and (self.path / _CONFIG).exists() and _saved_options(self.path / _CONFIG) != self.options:
            raise ValueError(f"name: wanted a new run, but another was begun in {self.path}; choose a --name")
        if (self.path / _INTERFACE).exists():
            self.check_pictures(splits, batches)
        self.path.mkdir(parents=True, exist_ok=True)
        interface = json.dumps(_interface_of(splits, batches), indent=2)
        options = yaml.safe_dump(self.options.flat(), sort_keys=False)
        for name, text in ((_INTERFACE, interface + "\n"), (_CONFIG, options)):
            file = self.path / name
            # The other processes of a run on several devices find it written.
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                with replacing(file) as partial:
                    partial.write_text(text, encoding="utf-8")

    def check_pictures(self, splits: Splits, batches: PictureBatches) -> None:
        """ValueError unless these are the pictures that the run began with, in the same parts."""
        before, now = self._kept_interface(), _interface_of(splits, batches)
        # A folder that changes is divided into other parts, and the test pictures of today were learned from.
        changed = [key for key in now if key in before and before[key] != now[key]]
        if changed:
            raise ValueError(
                f"data: wanted the pictures that {self.path} began with, but other {', '.join(changed)}; "
                f"got {now['pictures']} of {now['classes']}, had {before.get('pictures')} of {before['classes']}"
            )

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Train in the folder, alone: the processes of one run on several devices share it, but no two runs do.

        Raises:
            ValueError: while another process trains there.
        """
        if self.options.run.devices * self.options.run.num_nodes > 1:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout:
            raise ValueError(f"run: wanted a folder in which nobody trains, but somebody does in {self.path}") from None

    def interface(self) -> tuple[tuple[int, ...], tuple[str, ...], int | None]:
        """What the models take and give, as `begin` kept it; ValueError if the run has not begun.

        That is `(C, H, W)` of their images or `(C, D, H, W)` of volumes, the names of their classes, and how many
        labels an image has: a sequence of that length, or one label if None.
        """
        kept = self._kept_interface()
        return tuple(kept["image_shape"]), tuple(kept["classes"]), kept.get("steps")

    def _kept_interface(self) -> dict[str, Any]:
        file = self.path / _INTERFACE
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            if len(kept["image_shape"]) not in (3, 4) or not kept["classes"]:
                raise ValueError(f"image_shape {kept['image_shape']}, classes {kept['classes']}")
        except (OSError, TypeError, ValueError, KeyError) as error:
            raise ValueError(f"run: wanted a run that has begun, with {file}; got {error}") from error
        return kept

    def splits(self) -> Splits:
        """The clean pictures of this run."""
        data = self.options.data
        size = None if data.size is None else (data.size, data.size)
        splits = load(data.data, size=size, channels=data.channels, strict=data.strict)
        if data.labels is None:
            return splits
        return replace(splits, train=few_of_each(splits.train, data.labels, self.options.run.seed))

    def batches(self, splits: Splits) -> PictureBatches:
        """Batches of those pictures, distorted as this run distorts them."""
        data = self.options.data
        distortion: Distortion | Extrusion | None = None
        size = tuple(splits.train.images.shape[2:])
        if data.distortion == "extruded":
            distortion = Extrusion(size) if data.canvas is None else Extrusion(size, edge=data.canvas)
        elif data.distortion != "none":
            distortion = Distortion(
                data.distortion,
                size,
                size=None if data.canvas is None else (data.canvas, data.canvas),
                bank=splits.train.images.float() / 255 if data.distortion == "tc" else None,
                patches=data.patches,
                patch_size=data.patch_size,
            )
        return PictureBatches(
            splits,
            distortion=distortion,
            augment=data.augment,
            batch_size=self.options.training.batch_size,
            seed=self.options.run.seed,
            addends=data.addends,
            bend=data.bend,
        )


def _interface_of(splits: Splits, batches: PictureBatches) -> dict[str, Any]:
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    digest = hashlib.sha256()
    for part in parts.values():
        digest.update("\n".join(part.names).encode("utf-8", "surrogateescape"))
        digest.update(part.labels.numpy().tobytes())
    return {
        "image_shape": list(batches.image_shape),
        "classes": list(batches.classes),
        "steps": splits.steps,
        "pictures": {name: len(part) for name, part in parts.items()},
        "names and labels": digest.hexdigest(),
    }


def _saved_options(config: Path) -> Options:
    try:
        flat = yaml.safe_load(config.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"run: wanted YAML in {config}, got {error}") from error
    if not isinstance(flat, dict):
        raise ValueError(f"run: wanted options by name in {config}, got {type(flat).__name__}")
    return Options.of(flat)


def model_names(text: str) -> tuple[str, ...]:
    """The models of a comma-separated list. ValueError for one that is not known, or none, or one given twice."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        check_choice("model", name, MODELS)
    if len(set(names)) != len(names):
        raise ValueError(f"model: wanted each model once, got {text}")
    return names
