#!/usr/bin/env bash
# Fifteen minutes of a GPU used well: first whether the numbers are right, then how fast they come. Run it from the root
# of the repository. Logs and results go to the folder $OUT; each part has a limit of its own and the others go on.
set -u
out=${OUT:-gpu_session}
mkdir -p "$out"
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
part() { # name, seconds, command
    local name=$1 limit=$2
    shift 2
    echo "== $name"
    timeout "$limit" "$@" >"$out/$name.txt" 2>&1
    echo "== $name ended with $?"
    tail -n 40 "$out/$name.txt"
}
part kernels 200 python -m pytest -m gpu -p no:cacheprovider tests/nn
part speed 240 python -m evaluation.speed gpu
part recordings 90 python -m pytest -m gpu -p no:cacheprovider tests/inference
part train 120 python -m evaluation.speed train --only 2x650
part rest 120 python -m pytest -m gpu -p no:cacheprovider tests --ignore=tests/nn --ignore=tests/inference
cp evaluation/results/speed_gpu* evaluation/results/speed_train_2x650* "$out" 2>/dev/null
