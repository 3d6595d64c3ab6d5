import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tests.data.test_birds import birds_folder
from tests.models.test_backbone import stand_in
from tests.tasks.test_colocalise import shapes
from unwarp.cli.main import main
from unwarp.data import Pictures, Splits
from unwarp.report import experiment_markdown, write_experiment
from unwarp.tasks import experiments
from unwarp.tasks.experiments import FOLDER, Cell, choose_cells, experiment_names, keep, load_experiment
from unwarp.tasks.options import ColocaliseOptions, Options
from unwarp.tasks.run_folder import RunFolder
from unwarp.tasks.training import build

TABLES = [load_experiment(name) for name in experiment_names()]
CELLS = [cell for table in TABLES for cell in table.cells]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.experiment}:{cell.name}")
def test_the_options_of_every_cell_are_known(cell: Cell) -> None:
    for options in (cell.options, {**cell.options, **cell.gpu}, {**cell.options, **cell.quick}):
        if cell.task == "colocalise":
            ColocaliseOptions(**{key: value for key, value in options.items() if key not in ("data", "class")})
            continue
        run = RunFolder(Path("nowhere"), Options.of(dict(options)))
        assert len(run.models) == 1
    assert (cell.published is None) == (cell.goal == "report")
    assert cell.goal in ("better", "as good", "report")


@pytest.mark.parametrize(
    "cell",
    {(c.experiment, c.row): c for c in CELLS if c.task == "train"}.values(),
    ids=lambda cell: f"{cell.experiment}:{cell.name}",
)
def test_the_network_of_every_row_can_be_built(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", stand_in())
    options = Options.of({**cell.options, "labels": None})
    sequences = options.data.data == "mnist-sequences"
    count, size, labels = 10, (100, 100) if sequences else (28, 28), torch.arange(10)
    pictures = Pictures(
        torch.zeros(count, options.data.channels or 1, *size, dtype=torch.uint8),
        torch.stack([labels] * 3, dim=1) if sequences else labels,
        tuple("0123456789"),
        tuple("0123456789"),
    )
    run = RunFolder(Path("nowhere"), options)
    (name,) = run.models
    splits = Splits(pictures, pictures, pictures)
    batches = run.batches(splits)
    model = build(options, name, batches.image_shape, batches.classes, splits.steps)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if cell.experiment == "homographies":
        assert 39_000 <= parameters <= 39_100
    if cell.experiment == "addition":
        assert 0.9 * 400_000 <= parameters <= 400_000
        assert len(batches.classes) == 19


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_cells_are_chosen_by_name_row_or_column(table: object) -> None:
    experiment = load_experiment(table.name)  # pyright: ignore[reportAttributeAccessIssue]
    cell = experiment.cells[-1]
    assert experiment.choose([cell.name]) == (cell,)
    assert {c.row for c in experiment.choose([cell.row])} == {cell.row}
    assert {c.column for c in experiment.choose([cell.column])} == {cell.column}
    assert len({c.file(0) for c in experiment.cells}) == len(experiment.cells)
    with pytest.raises(ValueError, match="cells: wanted"):
        experiment.choose(["nothing/of-it"])


def test_what_is_kept_is_read_back_in_the_order_of_seeds(tmp_path: Path) -> None:
    experiment = load_experiment("digits")
    cell = experiment.cells[0]
    for seed in (10, 2, 0):
        keep({"row": cell.row, "column": cell.column, "seed": seed}, tmp_path / cell.file(seed))
    assert [record["seed"] for record in experiment.records(tmp_path)[cell.name]] == [0, 2, 10]
    keep({"row": "another", "column": cell.column, "seed": 0}, tmp_path / cell.file(1))
    with pytest.raises(ValueError, match="another"):
        experiment.records(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"row": "convnet"}'])
def test_a_damaged_record_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "digits" / "convnet.rts.0.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(ValueError, match=f"^results: wanted the record of a cell in {file}"):
        load_experiment("digits").records(tmp_path)


@pytest.mark.parametrize(
    ("error", "goal", "missed"),
    [
        (100 * (140 / 10_000), "as good", False),  # is not 1.4 in binary
        (1.4 + 1e-9, "as good", False),
        (1.41, "as good", True),
        (1.4, "better", True),
        (1.4 - 1e-9, "better", True),
        (1.39, "better", False),
    ],
)
def test_a_cross_marks_what_misses_its_goal(error: float, goal: str, missed: bool) -> None:
    (cell,) = load_experiment("distorted-mnist").choose(["cnn/e"])
    experiment = replace(load_experiment("distorted-mnist"), cells=(replace(cell, goal=goal),))
    assert cell.published == 1.4
    record = {"test_error": error, "seconds": 60, "machine": "one", "threads": 1, "seed": 0}
    assert ("✗" in experiment_markdown(experiment, {cell.name: [record]})) == missed


def test_cells_are_chosen_among_all_tables() -> None:
    chosen = choose_cells(TABLES, ["st-recurrent", "rts"])
    assert {cell.name for table in chosen for cell in table.cells if cell.column != "rts"} == {"st-recurrent/digits"}
    assert [table.name for table in chosen] == ["digits", "distorted-mnist", "sequences"]
    with pytest.raises(ValueError, match="^cells: wanted some of .*; got 'nothing'"):
        choose_cells(TABLES, ["rts", "nothing"])


def test_all_tables_are_run_but_those_whose_pictures_are_fetched_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, str | None, int]] = []

    def run(cell: Cell, out: Path, seed: int, console: Console, *, data: str | None, later: int, **how: object) -> dict:
        ran.append((f"{cell.experiment} {cell.name}", data, later))
        if cell.needs_folder != (data is not None):
            raise ValueError("data")
        record = {"test_error": 1.0, "seconds": 60, "machine": "one", "threads": 1, "options": {"model": "convnet"}}
        return {"row": cell.row, "column": cell.column, "seed": seed, **record}

    monkeypatch.setattr(Cell, "run", run)
    words = ["reproduce", "--all", "--results", str(tmp_path / "results"), "--out", str(tmp_path / "runs")]
    assert main(words) == 0
    names = {f"{cell.experiment} {cell.name}" for cell in CELLS if not cell.needs_folder}
    assert {name for name, *_ in ran} == names
    assert [later for *_, later in ran] == sorted((later for *_, later in ran), reverse=True)
    assert ran[-1][2] == 0
    said = capsys.readouterr().out
    assert "signs left out" in said
    assert "birds left out" in said
    ran.clear()
    assert main([*words, "--cells", "gtsrb", "--data", "somewhere"]) == 0
    assert {(name.partition("/")[2], data) for name, data, _ in ran} == {("gtsrb", "somewhere")}


def test_birds_are_read_in_their_own_layout_and_seen_in_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "timm", stand_in())
    folder = birds_folder(tmp_path / "CUB_200_2011")
    words = ["reproduce", "birds", "--quick", "--cells", "2st/224", "--accelerator", "cpu", "--data", str(folder)]
    assert main([*words, "--results", str(tmp_path / "results"), "--out", str(tmp_path / "runs")]) == 0
    (record,) = load_experiment("birds").records(tmp_path / "results" / "quick")["2st/224"]
    assert record["test_pictures"] == 9
    assert "16.9" in capsys.readouterr().out


def test_a_table_is_run_once_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reproduce", "digits", "--cells", "convnet", "--quick"]
    words += ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "runs")]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "1 of 1" in first
    (file,) = (tmp_path / "results").rglob("*.json")
    assert file.relative_to(tmp_path) == Path("results/quick/digits/convnet.rts.0.json")
    (record,) = load_experiment("digits").records(tmp_path / "results" / "quick")["convnet/rts"]
    assert record["options"]["epochs"] == record["epochs"] == 2
    runs = tmp_path / "runs" / "quick"
    page = (runs / "digits.html").read_text()
    assert "<img" in page
    assert '<a href="digits/convnet.rts.0/report.html">' in page
    assert (runs / "digits/convnet.rts.0/report.html").exists()
    assert "not yet run" in (runs / "digits.md").read_text()
    written = file.stat().st_mtime_ns
    assert main(words) == 0
    assert "1 of 1" not in capsys.readouterr().out
    assert file.stat().st_mtime_ns == written


def test_networks_of_a_column_are_shown_side_by_side(tmp_path: Path) -> None:
    experiment = load_experiment("digits")
    (cell,) = experiment.choose(["st-convnet/rts"])
    few = {"epochs": 1, "labels": 200}
    cells = tuple(
        replace(cell, row=row, quick=few | words) for row, words in (("one", {}), ("two", {"transformers": 2}))
    )
    records = {cell.name: [cell.run(tmp_path, 0, Console(quiet=True), quick=True)] for cell in cells}
    page = write_experiment(replace(experiment, cells=cells), records, tmp_path).read_text()
    assert page.count("side by side</h2>") == 1
    assert page.count("<img") == 1 + 2
    alone = write_experiment(replace(experiment, cells=cells[:1]), records, tmp_path).read_text()
    assert "side by side</h2>" not in alone


def test_a_digit_is_looked_for_once_and_the_search_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = shapes(300)
    monkeypatch.setattr("unwarp.tasks.experiments.load", lambda _: Splits(part, part, part))
    (cell,) = load_experiment("colocalisation").choose(["digit-0/cluttered"])
    few = {"class": "ring", "pictures": 6, "epochs": 2, "steps": 1, "parameters": 5000}
    cell = replace(cell, quick=few)
    record = cell.run(tmp_path, 0, Console(quiet=True), quick=True)
    assert 0 <= record["test_error"] <= 100
    assert record["options"]["clutter"] == 16
    experiment = replace(load_experiment("colocalisation"), cells=(cell,))
    page = write_experiment(experiment, {cell.name: [record]}, tmp_path).read_text()
    assert page.count("<img") == 1
    assert "19" in page


def test_a_run_of_other_options_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cell,) = load_experiment("digits").choose(["convnet/rts"])
    cell.run(tmp_path, 0, Console(quiet=True), quick=True)
    monkeypatch.chdir(tmp_path)
    cell.run(Path(), 0, Console(quiet=True), quick=True)  # the same folder by another name
    other = replace(cell, quick={"epochs": 3})
    with pytest.raises(ValueError, match="same options"):
        other.run(tmp_path, 0, Console(quiet=True), quick=True)


def test_a_gpu_takes_larger_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cell,) = load_experiment("distorted-mnist").choose(["st-convnet/rts"])
    monkeypatch.setattr(experiments, "_train", lambda path, options, console, later: {})
    taken = [cell.run(tmp_path, 0, Console(), accelerator=word)["options"] for word in ("gpu", "cpu")]
    assert taken == [
        {**cell.options, **cell.gpu, "seed": 0, "accelerator": "gpu"},
        {**cell.options, "seed": 0, "accelerator": "cpu"},
    ]
    assert cell.gpu["batch_size"] > Options.of(dict(cell.options)).training.batch_size


def test_on_a_gpu_no_cell_is_trained_for_less() -> None:
    for name in experiment_names():
        for cell in load_experiment(name).cells:
            if cell.task == "train":
                on_gpu, on_cpu = (Options.of(cell.options_on(word)).training.epochs for word in ("gpu", "cpu"))
                assert on_gpu >= on_cpu, cell.name


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "experiment"),
        (["signs", "--all"], "--all"),
        (["nothing"], "digits"),
        (["digits", "--seeds", "0"], "seeds"),
        (["digits", "--cells", "nothing"], "convnet/rts"),
        (["signs"], "data"),
        (["digits", "--data", "somewhere"], "data"),
    ],
)
def test_wrong_use_is_one_line(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", *words, "--results", "nowhere", "--out", "nowhere"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert complaint in lines[0]


def test_only_data_that_cannot_be_downloaded_is_asked_for() -> None:
    assert {cell.experiment for cell in CELLS if cell.options["data"] == FOLDER} == {"birds", "signs"}
