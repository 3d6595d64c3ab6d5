"""Set up and run: `python3 dev.py train` trains and compares networks, `python3 dev.py test` passes the tests.

    python3 dev.py COMMAND [OPTIONS]   any unwarp command (train, recipes, align, report, info ...)
    python3 dev.py test [OPTIONS]      the checks, then pytest with these options
    python3 dev.py check               the checks alone: ruff, pyright, the floors of the imports
    python3 dev.py setup               the environment alone

Everything goes into .venv beside this file, made on first use. Needs Python 3.11 or newer.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = ENVIRONMENT / "set-up.txt"
# Installed first and by itself, so that nothing that depends on torch brings another build of it along.
TORCH = "torch==2.13.0"
TORCH_SUFFICES = "import sys, torch; sys.exit(tuple(map(int, torch.__version__.split('.')[:2])) < (2, 11))"
# A process per core, but no more than four: each brings torch along. Later options count: -n 0 for a debugger.
SIDE_BY_SIDE = ("-n", "auto", "--maxprocesses", "4", "--dist", "loadfile")
CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("pyright",), ("lint-imports",))


def main() -> int:
    """Do what the command line says; returns the exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this file alone may be run by an older Python)
        print("dev.py: wanted Python 3.11 or newer, got " + sys.version.split()[0], file=sys.stderr)
        return 1
    command, *rest = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print(__doc__)
        return 0
    developing = command in ("test", "check", "setup")
    try:
        set_up("dev" if developing else "train")
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"dev.py: could not set up {ENVIRONMENT}: {error}", file=sys.stderr)
        return 1
    if not developing:
        return replace_by("unwarp", command, *rest)
    if command == "setup":
        return 0
    for check in CHECKS:
        print("$", *check, flush=True)
        code = subprocess.run([BIN / check[0], *check[1:]], cwd=ROOT).returncode
        if code:
            return code
    return replace_by("pytest", *SIDE_BY_SIDE, *rest) if command == "test" else 0


def set_up(extra: str) -> None:
    """Make the environment with one of the package's extras, unless it is there and up to date."""
    digest = hashlib.sha256(
        b"".join(path.read_bytes() for path in built_from()) + str(ENVIRONMENT).encode()
    ).hexdigest()
    done = STAMP.read_text(encoding="utf-8").split() if STAMP.exists() else []
    if digest in done and (extra in done or "dev" in done):
        return
    print(f"setting up {ENVIRONMENT} ({extra}); this takes a few minutes once", flush=True)
    STAMP.unlink(missing_ok=True)  # from here until the end the environment is half made
    if not PYTHON.exists():
        for link in BIN.glob("python*"):
            if not link.exists():
                link.unlink()  # its interpreter has gone, and venv would write through it
        venv.create(ENVIRONMENT, symlinks=os.name != "nt")
    # An environment that is there is completed, never cleared: it may be somebody's own, or an interrupted one.
    if not python_succeeds("-m", "pip", "--version"):
        subprocess.run([PYTHON, "-m", "ensurepip", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
    pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if not python_succeeds("-c", TORCH_SUFFICES):
        print(f"installing {TORCH}", flush=True)
        subprocess.run([*pip, TORCH], check=True)
    print(f"installing unwarp[{extra}]", flush=True)
    subprocess.run([*pip, "-e", f"{ROOT}[{extra}]"], check=True)
    STAMP.write_text(f"{digest} {extra}\n", encoding="utf-8")


def built_from() -> list[Path]:
    """The files that the environment was made of; where one changes, it is made anew."""
    return [ROOT / "pyproject.toml", ROOT / "CMakeLists.txt", *sorted((ROOT / "src/unwarp/sampling/csrc").iterdir())]


def python_succeeds(*arguments: str) -> bool:
    """Whether the environment's Python runs this and exits with 0; says nothing."""
    return subprocess.run([PYTHON, *arguments], capture_output=True).returncode == 0


def replace_by(program: str, *arguments: str) -> int:
    """Run a program of the environment in place of this one, so that Ctrl-C reaches it alone."""
    path = BIN / program
    if program == "pytest":
        os.chdir(ROOT)
    if os.name != "nt":
        sys.stdout.flush()
        os.execv(path, [str(path), *arguments])
    return subprocess.run([path, *arguments]).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("dev.py: interrupted; the next call carries on", file=sys.stderr)
        sys.exit(130)
