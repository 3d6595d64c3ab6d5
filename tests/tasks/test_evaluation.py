from pathlib import Path

import numpy as np
import pytest

from unwarp.tasks.evaluation import load_evaluation, save_evaluation


def test_a_broken_evaluation_is_named(tmp_path: Path) -> None:
    file = tmp_path / "evaluation.npz"
    arrays = {"labels": np.arange(1000) % 7, "predicted": np.arange(1000) % 5}
    save_evaluation(arrays, file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    loaded = load_evaluation(file)
    assert all((loaded[name] == values).all() for name, values in arrays.items())
    whole = file.read_bytes()
    middle = len(whole) // 4
    for broken in (b"", whole[: len(whole) // 2], whole[:middle] + bytes(40) + whole[middle + 40 :]):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"^run: wanted an evaluation in .*evaluation\.npz"):
            load_evaluation(file)
