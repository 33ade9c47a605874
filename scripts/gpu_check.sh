#!/usr/bin/env bash
# Everything that wants a GPU, as one command of under 8 minutes: the tests that use one, explanations a second, explain_many.
# Without a GPU it runs on the CPU with small sizes, which tests the script and says nothing about a GPU.
# Run: scripts/gpu_check.sh [FOLDER for its output, outputs/gpu_check]
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-outputs/gpu_check}"
mkdir -p "$out"
python=.venv/bin/python
[ -x "$python" ] || make venv >"$out/venv.log" 2>&1
if "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
  small=""
  "$python" -m pytest -q -m gpu 2>&1 | tee "$out/tests.txt"
else
  small="--small"
  echo "no GPU here: the benchmark runs on the CPU with small sizes, the tests of a GPU are left out" | tee "$out/tests.txt"
fi
"$python" -m benchmarks.gpu $small | tee "$out/gpu.md"
