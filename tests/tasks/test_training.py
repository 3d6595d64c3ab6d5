import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from rich.console import Console

from tests.tasks.conftest import options
from unwarp.models import import_backbone
from unwarp.nn import CollapseWarning
from unwarp.report import write_report
from unwarp.tasks import training
from unwarp.tasks.evaluation import load_evaluation
from unwarp.tasks.options import Options
from unwarp.tasks.progress import TrainingProgress
from unwarp.tasks.run_folder import RunFolder
from unwarp.tasks.training import load_best, train

QUIET = Console(quiet=True)


def run_with(bars: Path, out: Path, **words: object) -> RunFolder:
    chosen = options(bars, out, **words)  # pyright: ignore[reportArgumentType]
    run = RunFolder.create(out / "run", chosen)
    assert train(run, QUIET)
    return run


def weights(run: RunFolder, file: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return torch.load(run.folder("st-convnet") / file, weights_only=True)["state_dict"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_everything_behind(bars: Path, tmp_path: Path) -> None:
    run = run_with(bars, tmp_path, model={"model": "convnet,st-convnet"})
    assert list(run.results()) == ["convnet", "st-convnet"]
    for name, record in run.results().items():
        arrays = load_evaluation(run.folder(name) / "evaluation.npz")
        wrong = (arrays["labels"] != arrays["predicted"]).mean() * 100
        assert record["test_error"] == pytest.approx(wrong)
        assert record["epochs"] == 2
        assert record["parameters"] == sum(p.numel() for p in load_best(run, name).parameters())
        assert {p.name for p in run.folder(name).iterdir()} >= {"best.ckpt", "last.ckpt", "logs", "tensorboard"}
    film = sorted(p.name for p in (run.folder("st-convnet") / "film").iterdir())
    assert film == ["0000.npy", "0001.npy", "0002.npy", "inputs.npy"]
    assert RunFolder.open(run.path).options == run.options


def test_the_same_seed_gives_the_same_weights_and_another_does_not(bars: Path, tmp_path: Path) -> None:
    first, again, other = (run_with(bars, tmp_path / str(k), seed=seed) for k, seed in enumerate((3, 3, 4)))
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


class _Interrupt(TrainingProgress):
    """Presses Ctrl-C after some batches."""

    at = 0

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if trainer.global_step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("step", [2, 4, 6])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    bars: Path, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"training": {"epochs": 3}, "model": {"dropout": 0.3}}
    straight = run_with(bars, tmp_path / "straight", **settings)
    chosen = options(bars, tmp_path / "broken", **settings)  # pyright: ignore[reportArgumentType]
    run = RunFolder.create(tmp_path / "broken" / "run", chosen)
    monkeypatch.setattr(_Interrupt, "at", step)
    with monkeypatch.context() as patch:
        patch.setattr(training, "TrainingProgress", _Interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(run, QUIET)
    assert run.results() == {}
    assert train(RunFolder.open(run.path), QUIET)
    assert same(weights(run), weights(straight))
    assert run.results()["st-convnet"]["test_error"] == straight.results()["st-convnet"]["test_error"]


def test_finished_models_are_not_trained_again(bars: Path, tmp_path: Path) -> None:
    run = run_with(bars, tmp_path)
    before = run.results()
    assert train(run, QUIET)
    assert run.results() == before


@pytest.mark.slow
def test_two_processes_train_together(bars: Path, tmp_path: Path) -> None:
    words = f"train --data {bars} --distortion r --model convnet,st-convnet --epochs 2 --batch-size 16 --devices 2"
    words += f" --accelerator cpu --precision 32 --out {tmp_path} --debug"
    command = [sys.executable, "-m", "unwarp.cli.main", *words.split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert set(RunFolder.open(tmp_path / "folder").results()) == {"convnet", "st-convnet"}
    assert done.stdout.count("report:") == 1


def test_regularisers_and_every_optimiser_take_a_step(bars: Path, tmp_path: Path) -> None:
    weights_of_all = dict.fromkeys(("consistency", "identity_prior", "outside", "shrinkage", "bending"), 0.1)
    run = run_with(
        bars,
        tmp_path,
        training={"epochs": 1, "optimizer": "sgd", "schedule": "step", "clip": 1.0, "patience": 1} | weights_of_all,
        model={"transform": "tps", "bounded": True},
    )
    assert run.results()["st-convnet"]["epochs"] == 1


def test_a_collapsed_transformer_is_reported(bars: Path, tmp_path: Path) -> None:
    chosen = options(
        bars,
        tmp_path,
        training={"epochs": 1, "lr": 1e3, "schedule": "constant", "optimizer": "sgd"},
        model={"leash": 0.0},
    )
    run = RunFolder.create(tmp_path / "run", chosen)
    with pytest.warns(CollapseWarning, match="collapsed"):
        train(run, QUIET)


def test_weights_that_are_no_numbers_end_a_training(bars: Path, tmp_path: Path) -> None:
    chosen = options(bars, tmp_path, training={"lr": 1e30, "schedule": "constant", "optimizer": "sgd"})
    run = RunFolder.create(tmp_path / "run", chosen)
    with pytest.raises(ValueError, match="^lr: wanted one at which weights stay finite"):
        train(run, QUIET)
    assert not run.results()


def test_early_stopping_stops(bars: Path, tmp_path: Path) -> None:
    run = run_with(bars, tmp_path, training={"epochs": 30, "patience": 1, "lr": 1e-9})
    assert run.results()["st-convnet"]["epochs"] < 30


def test_checkpoints_of_strangers_run_no_code(bars: Path, tmp_path: Path) -> None:
    run = run_with(bars, tmp_path)
    torch.save({"state_dict": Path("x")}, run.folder("st-convnet") / "best.ckpt")
    with pytest.raises(ValueError, match="^run: wanted the weights"):
        load_best(run, "st-convnet")


class Own(torch.nn.Module):
    def __init__(self, in_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], classes)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(image)


def wrong(in_shape: tuple[int, int, int], classes: int) -> torch.nn.Module:
    return torch.nn.Flatten()


def test_a_network_of_ones_own_behind_a_transformer(bars: Path, tmp_path: Path) -> None:
    path = f"{__name__}:Own"
    run = run_with(bars, tmp_path, model={"backbone": path, "model": "convnet,st-convnet"})
    assert set(run.results()) == {"convnet", "st-convnet"}
    with pytest.raises(ValueError, match="^backbone: wanted --backbone"):
        RunFolder.open(run.path)
    assert isinstance(load_best(RunFolder.open(run.path, backbone=path), "st-convnet").backbone, Own)


@pytest.mark.parametrize("path", ["nowhere", "nowhere:Net", f"{__name__}:Missing", f"{__name__}:wrong", "os:system"])
def test_a_backbone_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="^backbone: wanted"):
        import_backbone(path, (1, 8, 8), 3)


def test_options_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^options: wanted known names"):
        Options.of({"epochz": 3})
    for beside in ({"transform": "affine"}, {"jitter": 0.1}, {"passes": 2}, {"window": 0.5}, {"transformers": 2}):
        with pytest.raises(ValueError, match="^bending: wanted it with transform=tps"):
            Options.of({"bending": 0.1, "transform": "tps"} | beside)
    with pytest.raises(ValueError, match="^consistency: wanted jitter=0"):
        Options.of({"consistency": 0.1, "jitter": 0.1})
    with pytest.raises(ValueError, match="^label_smoothing: wanted .* at most 1"):
        Options.of({"label_smoothing": 2.0})
    with pytest.raises(ValueError, match="^model: wanted"):
        RunFolder(tmp_path, Options.of({"model": "cnn,cnn"})).models  # noqa: B018
    with pytest.raises(ValueError, match="^run: wanted the folder of a run"):
        RunFolder.open(tmp_path)


def test_what_is_logged(bars: Path, tmp_path: Path) -> None:
    run = run_with(bars, tmp_path)
    (log,) = run.log_files("st-convnet")
    columns = log.read_text().splitlines()[0].split(",")
    assert {"val_error", "train_error", "train_loss", "pose_outside", "pose_scale"} <= set(columns)


def columns_of(run: RunFolder, name: str) -> set[str]:
    (log,) = run.log_files(name)
    return set(log.read_text().splitlines()[0].split(","))


@pytest.fixture(scope="module")
def sums(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Two networks that add up two bars: 0 is upright, 1 is lying."""
    numbered = tmp_path_factory.mktemp("numbered") / "bars.npz"
    with np.load(bars) as arrays:
        np.savez(numbered, x=arrays["x"], y=arrays["y"])
    chosen = options(
        numbered,
        numbered.parent,
        data={"addends": 2},
        model={"model": "2st-convnet,multi-st-convnet"},
        training={"epochs": 1, "consistency": 0.1, "outside": 0.1, "identity_prior": 0.1, "shrinkage": 0.1},
    )
    run = RunFolder.create(numbered.parent / "run", chosen)
    assert train(run, QUIET)
    return run


def test_each_of_several_transformers_is_diagnosed(sums: RunFolder) -> None:
    assert {f"pose_{what}_scale" for what in ("map1", "map2")} <= columns_of(sums, "2st-convnet")
    assert {f"pose_{what}_folds" for what in ("depth2", "depth3", "depth4")} <= columns_of(sums, "multi-st-convnet")


def test_sums_are_measured_with_every_map_and_every_addend(sums: RunFolder) -> None:
    assert sums.interface() == ((2, 24, 24), ("0", "1", "2"), None)
    arrays = load_evaluation(sums.folder("2st-convnet") / "evaluation.npz")
    assert set(arrays["labels"]) == {0, 1, 2}
    assert arrays["mean_before"].shape == (3, 2, 24, 24)
    assert arrays["mean_after"].shape == (3, 2, 2, 12, 12)
    assert arrays["gallery_outline"].shape == (16, 2, 9, 9, 2)
    assert arrays["gallery_output"].shape == (16, 2, 2, 12, 12)
    assert arrays["pose_learned"].shape == arrays["pose_true"].shape
    assert arrays["pose_true"].shape[1:] == (2, 4)
    single = load_evaluation(sums.folder("multi-st-convnet") / "evaluation.npz")
    assert single["pose_learned"].shape[1:] == (4,)


def test_the_report_shows_the_matrix_of_transformer_and_channel(sums: RunFolder) -> None:
    page = write_report(sums).read_text()
    assert page.count("<h3>Transformer × channel</h3>") == 1
    assert (sums.path / "filmstrip.gif").exists()


def test_a_network_of_ones_own_for_each_crop_and_to_place_them(bars: Path, tmp_path: Path) -> None:
    path = f"{__name__}:Own"
    words = {"backbone": path, "model": "2st-convnet", "parallel": "crops", "transform": "translation", "window": 0.5}
    run = run_with(bars, tmp_path, model=words, training={"epochs": 1})
    model = load_best(RunFolder.open(run.path, backbone=path), "2st-convnet")
    assert sum(isinstance(module, Own) for module in model.modules()) == 2 + 1
