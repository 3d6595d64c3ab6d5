#!/usr/bin/env bash
# Build an sdist, and a wheel from it; install the wheel in a fresh environment, and run the tests of what needs no extras
# on it: `tools/wheel.sh [PYTEST OPTIONS]`. The packages are then in build/wheel/dist.
set -euo pipefail
cd "$(dirname "$0")/.."
here="$PWD/build/wheel"

rm -rf "$here"
python3 -m venv "$here"
pip=("$here/bin/python" -m pip install -q --disable-pip-version-check)
"${pip[@]}" "$(python3 -c 'import dev; print(dev.TORCH)')" # first and by itself, as dev.py does
"${pip[@]}" build pytest pytest-timeout pytest-xdist hypothesis scipy
"$here/bin/python" -m build --outdir "$here/dist"
"${pip[@]}" "$here"/dist/*.whl

# The tests as they were packed, away from the sources, so that those cannot be what is imported.
mkdir "$here/away"
tar -xzf "$here"/dist/*.tar.gz -C "$here/away" --strip-components=1
rm -r "$here/away/src"
cd "$here/away"
"$here/bin/unwarp" --version
"$here/bin/unwarp" info
"$here/bin/python" -m pytest tests/maps tests/transforms tests/test_warping.py tests/test_coordinates.py tests/test_packaging.py \
  tests/sampling/test_kernels.py tests/sampling/test_antialias.py tests/sampling/test_ops.py tests/sampling/test_splines.py \
  -p no:cacheprovider "$@"
