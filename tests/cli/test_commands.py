"""The commands as a user types them."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageCms

from tests.cli.conftest import CLASSES, bar
from unwarp.cli.main import COMMANDS, main
from unwarp.cli.train import _parse
from unwarp.coordinates import to_normalized
from unwarp.data import read_picture
from unwarp.maps import LinearMap
from unwarp.models import MODELS
from unwarp.sampling import gpu
from unwarp.tasks.options import ModelOptions, Options
from unwarp.tasks.recipes import recipe_names, recipe_path
from unwarp.tasks.run_folder import RunFolder
from unwarp.transforms import Affine


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f"\n  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, command, "--help")
    assert code == 0
    assert f"unwarp {command}" in out
    assert not err


def test_help_of_train_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "train", "--help")
    for name in Options().flat():
        assert re.search(rf"^  --{name.replace('_', '-')}[, ]", out, flags=re.MULTILINE)


def test_switches_have_a_yes_and_a_no(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("augment: false\nstrict: true\n")
    config = ["--config", str(tmp_path / "mine.yaml")]
    for words, augment, strict in (
        ([], True, False),
        (["--no-augment", "--strict"], False, True),
        (config, False, True),
        ([*config, "--augment", "--no-strict"], True, False),
    ):
        _, options, _ = _parse(words)
        assert (options.data.augment, options.data.strict) == (augment, strict)


def test_the_help_names_every_model_once() -> None:
    (words,) = (field.metadata["help"] for field in fields(ModelOptions) if field.name == "model")
    named = re.findall(r"[\w-]+", words)
    assert [named.count(name) for name in MODELS] == [1] * len(MODELS)


def test_how_long_threads_spin_is_bounded_unless_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, wanted in (({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)):
        with monkeypatch.context() as patch:
            patch.setattr("os.environ", dict(given))
            assert main(["recipes"]) == 0
            assert os.environ.get("GOMP_SPINCOUNT") == wanted


def test_info_says_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert torch.__version__.partition("+")[0] in out
    assert "sampler" in out
    assert (f"no {gpu.MISSING}" if gpu.MISSING else "Triton kernels on GPUs") in out


def test_recipes_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "recipes")
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == list(recipe_names())
    assert lines[0].startswith("digits-rts")
    distorted = ("r", "rts", "p", "e", "tc", "h", "extruded")
    mnist = {f"mnist-{what}" for what in (*distorted, "addition", "sequences", "sequences-whole", "few")}
    assert set(recipe_names()) == {"digits-rts", "folder", "birds"} | mnist


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_hold_differences_only(name: str) -> None:
    options = yaml.safe_load(recipe_path(name).read_text())
    defaults = Options().flat()
    Options.of(options)
    assert all(defaults[key] != value or key == "data" for key, value in options.items())


# Those that differ from others only in how pictures are distorted take long to say the same.
ALIKE = ("mnist-r", "mnist-p", "mnist-e", "mnist-h", "mnist-tc")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ALIKE else ())
        for name in recipe_names()
        if name not in ("folder", "birds")
    ],
)
def test_every_recipe_takes_a_step(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "digits.npz"
    labels = np.arange(60) % 2
    images = np.random.default_rng(0).integers(0, 255, (60, 28, 28)).astype(np.uint8)
    if name.startswith("mnist-sequences"):
        large = np.random.default_rng(0).integers(0, 255, (60, 40, 40)).astype(np.uint8)
        rows = labels.reshape(20, 3)
        parts = {"train": slice(0, 20), "val": slice(20, 40), "test": slice(40, 60)}
        arrays = {f"x_{part}": large[of] for part, of in parts.items()} | {f"y_{part}": rows for part in parts}
        np.savez(archive, allow_pickle=False, **arrays)
    else:
        np.savez(archive, x=images, y=labels)
    few = ["--labels", 30] if "labels" in yaml.safe_load(recipe_path(name).read_text()) else []
    code, _, err = run(
        capsys,
        "train",
        name,
        *few,
        "--data",
        archive,
        "--epochs",
        1,
        "--batch-size",
        20,
        "--out",
        tmp_path,
        "--precision",
        "32",
    )
    assert (code, err) == (0, "")
    assert (tmp_path / name / "report.html").exists()


def test_the_recipe_for_birds_takes_a_step_and_aligns_every_crop(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--data", pictures, "--size", 24, "--crop", 12, "--epochs", 1, "--batch-size", 16, "--out", tmp_path]
    code, _, err = run(capsys, "train", "birds", *small, "--model", "2st-convnet,4st-convnet", "--precision", "32")
    assert (code, err) == (0, "")
    code, _, err = run(capsys, "align", tmp_path / "birds", pictures / "lying", "--out", tmp_path / "straight")
    assert (code, err) == (0, "")
    with (tmp_path / "straight" / "transforms.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 20 * 4
    assert [row["output"] for row in rows[:4]] == ["0-1.png", "0-2.png", "0-3.png", "0-4.png"]
    size = read_picture(rows[0]["file"]).shape[1:]
    assert read_picture(tmp_path / "straight" / "0-3.png").shape[1:] == size
    assert {(float(row["scale"]), len([name for name in row if name.startswith("theta_")])) for row in rows} == {
        (0.5, 2)
    }
    assert len({row["predicted"] for row in rows[:4]}) == 1


def test_sums_of_pictures_cannot_be_aligned(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--epochs", 1, "--batch-size", 300, "--model", "2st-fcn", "--precision", "32", "--out", tmp_path]
    code, _, err = run(capsys, "train", "mnist-addition", "--data", "digits", *words)
    assert (code, err) == (0, "")
    code, _, err = run(capsys, "align", tmp_path / "mnist-addition", pictures, "--out", tmp_path / "a")
    assert code == 2
    assert "wanted one for grey or colour pictures, got one for images of 2 channels" in err
    code, _, err = run(capsys, "train", "--data", pictures, "--addends", 2, "--out", tmp_path)
    assert code == 2
    assert "addends: wanted classes 0, 1 to add up" in err


def test_train_leaves_a_run_behind(trained: Path) -> None:
    found = RunFolder.open(trained)
    assert set(found.results()) == {"convnet", "st-convnet"}
    assert found.options.training.label_smoothing == 0.05  # of the recipe for folders
    assert found.interface() == ((3, 24, 24), CLASSES, None)
    for name in ("config.yaml", "report.html", "filmstrip.gif", "mean_pictures.png"):
        assert (trained / name).stat().st_size > 0


def test_the_report_is_one_file_with_everything(trained: Path) -> None:
    page = (trained / "report.html").read_text()
    for heading in (
        "Mean picture of each class",
        "Learning curves",
        "As it learned",
        "Confusion matrix",
        "Configuration",
    ):
        assert heading in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    with Image.open(trained / "filmstrip.gif") as film:
        assert film.n_frames == 3  # pyright: ignore[reportAttributeAccessIssue]


def test_the_report_can_be_written_again(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (trained / "report.html").unlink()
    code, out, _ = run(capsys, "report", trained)
    assert code == 0
    assert str(trained / "report.html") in out
    assert (trained / "report.html").exists()


def test_evaluate_measures_what_train_measured(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "evaluate", trained)
    assert code == 0
    for name, record in RunFolder.open(trained).results().items():
        assert f"{name}: test error {record['test_error']:.2f} %" in out


def test_colocalise_takes_pictures_of_any_size(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--pictures", 4, "--epochs", 1, "--steps", 1, "--starts", 1, "--parameters", 5000]
    for name in CLASSES[:2]:
        words = ["colocalise", "--data", pictures, "--classes", name, "--out", tmp_path, *small]
        code, out, err = run(capsys, *words)
        assert code == 0, err
        assert f"{name}: " in out
        assert (tmp_path / f"{name}.png").exists()
    assert list(json.loads((tmp_path / "results.json").read_text())["classes"]) == list(CLASSES[:2])


def test_align_straightens_at_full_resolution(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    sizes = {"a.png": (100, 180), "b.jpg": (64, 64), "deep/a.png": (40, 30)}
    for index, (name, size) in enumerate(sizes.items()):
        bar(index % 2 == 0, size, index).save(source / name)
    (source / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    code, _, err = run(capsys, "align", trained, source, "--out", out)
    assert code == 0
    assert err.count("\n") == 1
    assert "broken.png" in err
    with (out / "transforms.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [Path(row["file"]).relative_to(source).as_posix() for row in rows] == sorted(sizes)
    for row in rows:
        size = sizes[Path(row["file"]).relative_to(source).as_posix()]
        straight = read_picture(out / row["output"], 3)
        assert tuple(straight.shape[1:]) == size
        assert row["predicted"] in CLASSES
        assert 0 <= float(row["outside"]) <= 1
        matrix = torch.tensor([[float(row[f"matrix_{i}{j}"]) for j in range(3)] for i in range(3)])
        theta = torch.tensor([float(row[f"theta_{i}"]) for i in range(6)]).reshape(2, 3)
        pixel = torch.tensor([3.0, 5.0])
        through = to_normalized(matrix[:2, :2] @ pixel + matrix[:2, 2], size)
        torch.testing.assert_close(
            through, theta[:, :2] @ to_normalized(pixel, size) + theta[:, 2], atol=1e-3, rtol=1e-3
        )


def test_align_tells_rotations_in_pixels(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bar(True, (200, 400), 1).save(tmp_path / "wide.png")
    angle = math.radians(30)
    turned = torch.tensor([[math.cos(angle), -math.sin(angle) / 2, 0], [2 * math.sin(angle), math.cos(angle), 0]])
    monkeypatch.setattr(Affine, "_to_map", lambda self, theta: LinearMap(turned.expand(len(theta), -1, -1)))
    code, _, err = run(capsys, "align", trained, tmp_path / "wide.png", "--out", tmp_path / "out")
    assert code == 0, err
    with (tmp_path / "out" / "transforms.csv").open(newline="") as table:
        (row,) = csv.DictReader(table)
    assert float(row["rotation_deg"]) == pytest.approx(30, abs=1e-3)
    assert float(row["translation_x_px"]) == pytest.approx(0, abs=1e-3)


def test_align_keeps_what_colours_mean(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = bar(True, (30, 30), 1).convert("RGB")
    picture.putpixel((0, 0), (255, 0, 0))
    picture.save(tmp_path / "a.png", icc_profile=profile)
    assert run(capsys, "align", trained, tmp_path / "a.png", "--out", tmp_path / "out")[0] == 0
    with Image.open(tmp_path / "out" / "a.png") as straight:
        assert straight.info["icc_profile"] == profile


def test_align_leaves_a_table_of_anothers_alone(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bar(True, (30, 30), 1).save(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "transforms.csv").write_text("mine")
    code, _, err = run(capsys, "align", trained, tmp_path / "a.png", "--out", tmp_path / "out")
    assert code == 2
    assert "transforms.csv" in err
    assert (tmp_path / "out" / "transforms.csv").read_text() == "mine"


def test_align_strictly_fails_on_a_broken_picture(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    code, _, err = run(capsys, "align", trained, tmp_path / "broken.png", "--out", tmp_path / "out", "--strict")
    assert code == 2
    assert "broken.png" in err


def test_align_writes_over_its_own_results_and_nothing_else(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    bar(True, (30, 30), 1).save(photos / "a.png")
    for _ in range(2):
        assert run(capsys, "align", trained, photos, "--out", out)[0] == 0
    table = (out / "transforms.csv").read_bytes()
    (out / "transforms.csv").unlink()  # as if it had been interrupted before its end
    assert run(capsys, "align", trained, photos, "--out", out)[0] == 0
    assert (out / "transforms.csv").read_bytes() == table
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert run(capsys, "align", trained, tmp_path / "broken.png", "--out", out)[0] == 2
    assert (out / "transforms.csv").read_bytes() == table
    other = tmp_path / "other"
    other.mkdir()
    original = bar(False, (20, 20), 2)
    original.save(other / "a.png")
    code, _, err = run(capsys, "align", trained, photos, "--out", other)
    assert code == 2
    assert "a.png" in err
    assert tuple(read_picture(other / "a.png").shape[1:]) == (20, 20)


def test_pictures_of_the_same_name_do_not_overwrite_each_other(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one/a.png", "two/a.jpg"):
        (tmp_path / name).parent.mkdir()
        bar(True, (30, 30), 1).save(tmp_path / name)
    code, _, _ = run(capsys, "align", trained, tmp_path / "one/a.png", tmp_path / "two", "--out", tmp_path / "out")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a-2.png", "a.png", "transforms.csv"]


def wrong_uses(trained: Path, pictures: Path, tmp: Path) -> dict[str, tuple[list[object], str]]:
    (tmp / "bad.yaml").write_text("epochz: 3")
    (tmp / "code.yaml").write_text("backbone: os:system")
    (tmp / "nest.yaml").write_text(f"config: {tmp / 'code.yaml'}")
    (tmp / "other.yaml").write_text(f"resume: {trained}")
    (tmp / "broken.yaml").write_text("a: [")
    (tmp / "list.yaml").write_text("- 1")
    (tmp / "empty").mkdir()
    (tmp / "one" / "only").mkdir(parents=True)
    bar(True, (9, 9), 0).save(tmp / "one" / "only" / "a.png")
    (tmp / "up" / "x" / "x").mkdir(parents=True)
    for folder in ("up/x", "up/x/x"):
        bar(True, (9, 9), 0).save(tmp / folder / "a.png")
    out = ["--out", tmp / "runs"]
    return {
        "unknown command": (["fly"], "fly"),
        "unknown option": (["train", "--epochz", 3], "epochz"),
        "unknown recipe": (["train", "mnist-x"], "mnist-x"),
        "unknown data": (["train", "--data", "nowhere", *out], "nowhere"),
        "no number": (["train", "--epochs", "many"], "epochs"),
        "no choice": (["train", "--transform", "bent"], "transform"),
        "unknown model": (["train", "--model", "resnet", *out], "resnet"),
        "unknown key": (["train", "--config", tmp / "bad.yaml"], "epochz"),
        "code in a file": (["train", "--config", tmp / "code.yaml"], "backbone"),
        "code in a file's file": (["train", "--config", tmp / "nest.yaml"], "config"),
        "a run in a file": (["train", "--config", tmp / "other.yaml"], "resume"),
        "half an option": (["train", "--conf", tmp / "code.yaml"], "--conf"),
        "broken YAML": (["train", "--config", tmp / "broken.yaml"], "broken.yaml"),
        "YAML of another kind": (["train", "--config", tmp / "list.yaml"], "list.yaml"),
        "missing config": (["train", "--config", tmp / "none.yaml"], "none.yaml"),
        "config without a file": (["train", "--config"], "config"),
        "empty folder": (["train", "--data", tmp / "empty", *out], "empty"),
        "one class": (["train", "--data", tmp / "one", *out], "class"),
        "negative epochs": (["train", "--epochs", -1, *out], "epochs"),
        "no batch": (["train", "--batch-size", 0, *out], "batch_size"),
        "run is there already": (["train", "--name", trained.name, "--out", trained.parent], "--resume"),
        "no such device": (
            ["train", "--accelerator", "mps" if torch.cuda.is_available() else "gpu", *out],
            "accelerator",
        ),
        "no such backbone": (["train", "--backbone", "nowhere:Net", *out], "backbone"),
        "negative seed": (["train", "--seed", -1, *out], "seed"),
        "enormous seed": (["train", "--seed", 10**14, *out], "seed"),
        "patches wider than pictures": (["train", "--distortion", "tc", "--patch-size", 99, *out], "patch_size"),
        "no such user": (["train", "--data", "~nobody-of-that-name/x", *out], "data"),
        "no run": (["evaluate", tmp], "run"),
        "no run to resume": (["train", "--resume", tmp / "none"], "run"),
        "other options on resume": (["train", "--resume", trained, "--epochs", 9], "epochs"),
        "no picture": (["align", trained, tmp / "empty", "--out", tmp / "a"], "picture"),
        "no such picture": (["align", trained, tmp / "none.png", "--out", tmp / "a"], "none.png"),
        "onto itself": (["align", trained, pictures, "--out", pictures], "out"),
        "into itself": (["align", trained, pictures, "--out", pictures / "straight"], "out"),
        "over another": (["align", trained, tmp / "up" / "x", "--out", tmp / "up"], "out"),
        "no out": (["align", trained, pictures], "out"),
        "plain model": (["align", trained, pictures, "--out", tmp / "a", "--model", "convnet"], "model"),
    }


def test_wrong_use_is_one_clear_line_and_exit_code_2(
    trained: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for what, (words, named) in wrong_uses(trained, pictures, tmp_path).items():
        code, _, err = run(capsys, *words)
        assert code == 2, (what, code, err)
        assert err.count("\n") == 1, (what, err)
        assert named in err, (what, err)
        assert "Traceback" not in err, (what, err)


def test_a_wrong_use_leaves_no_run_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--data", "nowhere"], ["--model", "resnet"], ["--epochs", "-1"]):
        run(capsys, "train", *words, "--out", tmp_path)
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "train", "--data", "nowhere", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_a_failure_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(words: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("unwarp.cli.info.main", fail)
    code, _, err = run(capsys, "info")
    assert code == 1
    assert err == "unwarp: OSError: disk full (--debug shows where)\n"


def test_runs_are_numbered(tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--data", pictures, "--size", 16, "--epochs", 1, "--model", "fcn", "--out", tmp_path]
    assert [run(capsys, *words)[0] for _ in range(2)] == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "folder-2"]


def test_what_is_typed_overrides_the_config_which_overrides_the_recipe(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("epochs: 1\ndropout: 0.4\nsize: 16\nmodel: fcn\n")
    words = ["train", "folder", "--data", pictures, "--dropout", "0.3", "--config", tmp_path / "mine.yaml"]
    assert run(capsys, *words, "--out", tmp_path / "runs")[0] == 0
    options = RunFolder.open(tmp_path / "runs" / "folder").options
    assert (options.training.epochs, options.model.dropout, options.training.label_smoothing) == (1, 0.3, 0.05)


def test_works_as_a_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unwarp.cli.main", "fly"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.startswith("unwarp: wanted a command")
