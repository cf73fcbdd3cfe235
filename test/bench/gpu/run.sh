#!/usr/bin/env bash
# Checks and measures the CUDA backend on this machine's GPU: conformance first, then speed.
#   test/bench/gpu/run.sh [share of the conformance matrix, default 0.1]
# Needs `npm run build` and `npm run test:native` before. compute-sanitizer is used if it is there.
set -uo pipefail
cd "$(dirname "$0")/../../.."
release=$PWD/build/Release
backend=$release/backends/cuda/hive_backend.so
failed=0
note() { printf '\n=== %s\n' "$*"; }

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || exit 1
git log --oneline -1 2>/dev/null

note "conformance against the oracle, bit for bit"
HIVE_TEST_BACKENDS=cuda HIVE_TEST_SHARE=${1:-0.1} "$release/hive_native_tests" \
  -tce="core*,fault*,cuda:*" || failed=1

if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    note "compute-sanitizer $tool"
    HIVE_TEST_BACKENDS=cuda HIVE_TEST_SHARE=0.002 compute-sanitizer --tool "$tool" \
      --error-exitcode 9 "$release/hive_native_tests" \
      -tc="conformance matrix,many small*,ticket: p*,the best*" | tail -4 || failed=1
  done
fi

scan() { "$release/gpu_scan" "$backend" "$@" || failed=1; }
note "device time, k = 10; every shape is compared with the CPU backend first"
scan --rows 1000000 --dim 128 --check --queries 1,2,8,10,64,100,1000
scan --rows 1000000 --dim 768 --check --queries 1,10,100,1000
scan --rows 1000000 --dim 768 --dtype f16 --check --queries 1,10,100,1000
scan --rows 10000000 --dim 96 --queries 1,10,100,1000 --repeat 10
for rows in 1000 10000 100000; do
  scan --rows "$rows" --dim 128 --queries 1,10 --repeat 200
done

note "end to end from JavaScript"
node test/bench/gpu/run.mjs || failed=1
exit $failed
