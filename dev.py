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
STAMP = ENVIRONMENT / "set-up.txt"
# Installed first and by itself, so that nothing that depends on torch brings another build of it along.
TORCH = "torch==2.13.0"
CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("pyright",), ("lint-imports",))


def main() -> int:
    """Do what the command line says; returns the exit code."""
    if sys.version_info < (3, 11):
        print("dev.py: wanted Python 3.11 or newer, got " + sys.version.split()[0], file=sys.stderr)
        return 2
    command, *rest = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print(__doc__)
        return 0
    developing = command in ("test", "check", "setup")
    try:
        set_up("dev" if developing else "train")
    except subprocess.CalledProcessError as error:
        print(f"dev.py: could not set up {ENVIRONMENT}: pip stopped with {error.returncode}", file=sys.stderr)
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
    return replace_by("pytest", *rest) if command == "test" else 0


def set_up(extra: str) -> None:
    """Make the environment with one of the package's extras, unless it is there and up to date."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    done = STAMP.read_text().split() if STAMP.exists() else []
    if digest in done and (extra in done or "dev" in done):
        return
    print(f"setting up {ENVIRONMENT} ({extra}); this takes a few minutes once", flush=True)
    if not (BIN / "pip").exists() and not (BIN / "pip.exe").exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
    pip = [BIN / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, TORCH], check=True)
    subprocess.run([*pip, "-e", f"{ROOT}[{extra}]"], check=True)
    STAMP.write_text(f"{digest} {extra}\n")


def replace_by(program: str, *arguments: str) -> int:
    """Run a program of the environment in place of this one, so that Ctrl-C reaches it alone."""
    path = BIN / program
    if os.name == "nt":
        return subprocess.run([path, *arguments]).returncode
    if program == "pytest":
        os.chdir(ROOT)
    sys.stdout.flush()
    os.execv(path, [str(path), *arguments])


if __name__ == "__main__":
    sys.exit(main())
