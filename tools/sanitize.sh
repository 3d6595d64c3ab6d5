#!/usr/bin/env bash
# Build the kernels with AddressSanitizer and UBSan and run the sampler's tests on them: `tools/sanitize.sh [PYTEST OPTIONS]`.
# Needs GCC and the environment that `python3 dev.py setup` makes; leaves that as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
main="$PWD/.venv"
here="$PWD/build/sanitize"

rm -rf "$here"
"$main/bin/python" -m venv --without-pip "$here"
site="$("$here/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
# The other environment's packages, but not what its .pth files do: unwarp itself comes from here.
"$main/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/others.pth"
"$main/bin/pip" install -q --no-deps --target "$site" -C build-dir="$here/objects" -C cmake.define.UNWARP_SANITIZE=address,undefined .

# Python itself frees little at its end; leaks are not what is looked for. The interpreter must load the runtimes first.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" \
  "$here/bin/python" -m pytest tests/sampling/test_kernels.py tests/sampling/test_antialias.py tests/sampling/test_ops.py tests/sampling/test_splines.py \
  -p no:cacheprovider "$@"
