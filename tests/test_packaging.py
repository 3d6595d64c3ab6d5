import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import pytest

import unwarp

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running the code."""
    tail = "\nimport sys\nprint('\\n' + ' '.join(sys.modules))"
    command = [sys.executable, "-c", code + tail]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in result.stdout.splitlines()[-1].split()}


def test_version_is_that_of_pyproject() -> None:
    assert unwarp.__version__ == tomllib.loads(PYPROJECT.read_text())["project"]["version"]


def test_import_does_not_load_torch() -> None:
    loaded = loaded_by("import unwarp")
    assert "unwarp" in loaded
    assert not loaded & {"torch", "numpy"}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_loads_nothing_heavy(option: str) -> None:
    loaded = loaded_by(f"from unwarp.cli.main import main\nassert main([{option!r}]) == 0")
    assert "unwarp" in loaded
    assert not loaded & {"torch", "numpy", "lightning", "matplotlib", "jsonargparse", "sklearn"}


WITHOUT_EXTRAS = """
import sys

class Missing:
    extras = ("lightning", "jsonargparse", "yaml", "rich", "matplotlib", "jinja2", "PIL", "pooch")

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.extras:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from unwarp.cli.main import main

sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("command", "code", "said"), [("info", 0, "sampler "), ("recipes", 1, 'pip install "unwarp[train]"')]
)
def test_commands_without_extras_name_them(command: str, code: int, said: str) -> None:
    words = [sys.executable, "-c", WITHOUT_EXTRAS, command]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == code
    assert said in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", unwarp.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(unwarp, name) is not None
    assert name in dir(unwarp)


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'wrap'"):
        unwarp.wrap  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_warp_is_still_the_function_after_its_module_is_imported() -> None:
    import unwarp.warping

    assert unwarp.warp is unwarp.warping.warp
    assert callable(unwarp.warp)


def test_command_line_entry_point() -> None:
    from unwarp.cli.main import main

    (entry,) = entry_points(group="console_scripts", name="unwarp")
    assert entry.load() is main


def test_data_files_are_in_the_package() -> None:
    source = Path(__file__).parents[1] / "src" / "unwarp"
    data = [file.relative_to(source) for suffix in ("typed", "yaml", "html") for file in source.rglob(f"*.{suffix}")]
    assert Path("recipes/experiments/birds.yaml") in data
    assert not [str(file) for file in data if not files("unwarp").joinpath(*file.parts).is_file()]
