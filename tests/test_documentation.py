"""What the documents promise, tried."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

import unwarp
from benchmarks.summary import FIGURES, with_table
from unwarp.nn import convolutional

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_the_python_of_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    logits = names["logits"]
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (8, 10)


def test_what_the_library_exports_runs_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = (ROOT / "docs" / "library.md").read_text().partition("## Export")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block, "library.md", "exec"), names)
    images = torch.rand(5, 1, 28, 28)
    wanted = names["straighten"](images)
    torch.testing.assert_close(torch.export.load(tmp_path / "straighten.pt2").module()(images), wanted)
    session = onnxruntime.InferenceSession(tmp_path / "straighten.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), wanted.detach(), atol=2e-5, rtol=0)


def test_what_the_library_shows_of_several_transformers_runs() -> None:
    section = (ROOT / "docs" / "library.md").read_text().partition("## Side by side")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    names: dict[str, Any] = {"torch": torch, "unwarp": unwarp, "convolutional": convolutional}
    for block in blocks:
        exec(compile(block, "library.md", "exec"), names)
    images = torch.rand(5, 3, 64, 64)
    assert names["channels"](images).shape == (5, 6, 32, 32)
    assert names["crops"](images).shape == (5, 4, 3 * 32 * 32)


def test_the_python_about_sequences_runs() -> None:
    section = (ROOT / "docs" / "library.md").read_text().partition("## Sequences")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "library.md", "exec"), names)
    assert names["logits"].shape == (8, 4, 11)
    assert names["loss"].isfinite()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_readmes_table_of_speed_is_that_of_the_stored_figures() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme == with_table(readme, [json.loads(path.read_text()) for path in FIGURES])


def test_the_results_are_those_of_the_stored_measurements() -> None:
    results = runpy.run_path(str(ROOT / "docs" / "draw" / "results.py"))
    assert (ROOT / "docs" / "results.md").read_text() == results["page"]()


def test_the_commands_of_the_documents_exist() -> None:
    from unwarp.cli.main import COMMANDS

    found = set()
    for document in DOCUMENTS:
        found |= set(re.findall(r"^ *unwarp ([a-z]+)", document.read_text(), flags=re.MULTILINE))
    assert found
    assert found <= set(COMMANDS)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_take_a_step_and_are_short(file: Path) -> None:
    few = {"count": 22} if file.stem == "recurrent_reading" else {}
    assert 0 <= runpy.run_path(str(file))["main"](epochs=1, **few) <= 1
    assert len(file.read_text(encoding="utf-8").splitlines()) < 80


@pytest.mark.slow
def test_the_example_learns() -> None:
    example = runpy.run_path(str(ROOT / "examples" / "drop_in.py"))
    assert example["main"]() > 0.9
