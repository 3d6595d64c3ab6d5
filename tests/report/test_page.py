from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unwarp.models import build_model
from unwarp.report import results_table, write_report
from unwarp.report.film import write_film, write_turning
from unwarp.report.page import _each_transformer, _read_log
from unwarp.tasks.options import Options
from unwarp.tasks.run_folder import RunFolder
from unwarp.tasks.turning import turn


def test_a_later_log_has_the_last_word_on_an_epoch(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("epoch,step,val_error\n0,9,5.0\n1,19,4.0\n")
    second.write_text("epoch,step,train_loss,val_error\n1,19,,3.5\n2,29,0.1,\n2,29,,3.0\n")
    log = _read_log([first, second, tmp_path / "missing.csv"])
    assert log == {"val_error": [(1, 5.0), (2, 3.5), (3, 3.0)], "train_loss": [(3, 0.1)]}


@pytest.mark.parametrize(("channels", "maps"), [(1, ()), (3, ()), (2, (2,)), (1, (4,))])
def test_a_long_film_is_thinned(tmp_path: Path, channels: int, maps: tuple[int, ...]) -> None:
    run = RunFolder(tmp_path, Options())
    folder = run.folder("st-cnn") / "film"
    folder.mkdir(parents=True)
    np.save(folder / "inputs.npy", np.zeros((3, channels, 8, 8), dtype=np.uint8))
    for epoch in range(200):
        np.save(folder / f"{epoch:04d}.npy", np.full((3, *maps, channels, 5, 5), epoch, dtype=np.uint8))
    file = write_film(run, {"cnn": {}, "st-cnn": {}})
    assert file is not None
    with Image.open(file) as film:
        assert 40 <= film.n_frames <= 80  # pyright: ignore[reportAttributeAccessIssue]
        assert film.height == 16 + 88 * (1 + (maps[0] if maps else 1))


def test_pictures_turn_to_and_fro_about_their_centres(tmp_path: Path) -> None:
    picture = torch.zeros(2, 1, 9, 9)
    picture[:, :, 0, 4] = 1  # at the top; turned by 45° it comes near a corner
    model = build_model("st-convnet", (1, 9, 9), 3).eval()
    arrays = turn(model, picture)
    angles, inputs = arrays["turning_angle"], arrays["turning_input"]
    assert angles[0] == 0
    np.testing.assert_allclose([angles.min(), angles.max()], [-45, 45])
    np.testing.assert_array_equal(inputs[0], 255 * picture.numpy())
    far = inputs[angles.argmax(), 0, 0]
    assert np.argwhere(far == far.max())[0].tolist() in ([1, 1], [1, 7])
    # A new transformer leaves everything as it is.
    np.testing.assert_array_equal(arrays["turning_output"], inputs)
    file = write_turning(arrays, tmp_path / "turning.gif")
    assert file is not None
    with Image.open(file) as film:
        assert film.n_frames == len(angles)  # pyright: ignore[reportAttributeAccessIssue]
    assert write_turning({}, tmp_path / "no.gif") is None


def test_without_a_transformer_there_is_no_film(tmp_path: Path) -> None:
    assert write_film(RunFolder(tmp_path, Options()), {"cnn": {}}) is None


def test_an_unfinished_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^run: wanted a finished run"):
        write_report(RunFolder(tmp_path, Options()))


def test_the_table_has_a_row_for_each_model(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, Options())
    for model in ("cnn", "st-cnn"):
        run.add_result(
            model, {"parameters": 5, "test_error": 1.25, "validation_error": None, "epochs": 3, "seconds": 61.2}
        )
    table = results_table(run)
    assert table.row_count == 2
    assert list(table.columns[-1].cells) == ["1 min 01 s"] * 2


def test_curves_of_several_transformers_stand_beside_those_of_their_model() -> None:
    log = {
        "pose_scale": [(1, 0.7)],
        "pose_map1_scale": [(1, 0.6)],
        "pose_map2_scale": [(1, 0.8)],
        "val_error": [(1, 5.0)],
    }
    assert _each_transformer("2st-fcn", log) == {
        "2st-fcn, transformer 1": {"pose_scale": [(1, 0.6)]},
        "2st-fcn, transformer 2": {"pose_scale": [(1, 0.8)]},
    }
    deep = _each_transformer("multi-st-cnn", {"pose_depth2_outside": [(1, 0.0)]})
    assert deep == {"multi-st-cnn, depth 2": {"pose_outside": [(1, 0.0)]}}
