#!/usr/bin/env bash
# Measure what needs a GPU, in under eight minutes on a fast one:
#   bash parity_tests/gpu_session.sh OUT CALTECH16
# OUT: the folder for tables, JSON, pictures and the run. CALTECH16: the data of configs/asymmnet_caltech16.yaml.
set -uo pipefail # a part that fails does not keep the others from running
out=$1 data=$2
python=${PYTHON:-python}
models=(resnet50 shufflenet_v2_x1_0_torchvision asymmnet_large rdnet_tiny efficientnet_v2_s)
mkdir -p "$out"

timeout 60 "$python" -m pytest -q parity_tests/backends/test_device.py |& tee "$out/test_device.txt"
for precision in float32 bfloat16; do
  timeout 80 "$python" -m repro.bench step --backend torch --device gpu --precision "$precision" --batch-size 64 \
    --models "${models[@]}" --rounds 10 --json "$out/$precision.json" --figure "$out/$precision.png" |& tee "$out/$precision.txt"
done
timeout 30 "$python" -m repro.bench start --backend torch --model asymmnet_large --rounds 1 |& tee "$out/start.txt"
timeout 220 "$python" -m repro.run --backend torch --config asymmnet_caltech16 --data "$data" --device gpu --workers 8 \
  --out "$out/asymmnet_caltech16" |& tee "$out/asymmnet_caltech16.txt"
