#!/usr/bin/env bash
# Trains a small StyleGAN-XL on CIFAR-10 for about ten minutes of one GPU, unattended.
#
#   examples/stylegan_xl_gpu.sh DATA_DIR RUN_DIR [SECONDS]
#
# DATA_DIR is the TFDS root with cifar10. Trains 8 kimg, takes the speed of the last of
# them, and goes on for what then fits into SECONDS, 540 if unset. Compiling and
# measuring come on top. Needs pip install 'progan_jax[projected]'.
set -euo pipefail

data=${1:?name the TFDS root}
run=${2:?name a folder for the run}
seconds=${3:-540}

train() {
  python3 -m progan_jax.main --config=configs/stylegan_xl.py:cifar10,tiny \
    --workdir="$run" --config.data.data_dir="$data" \
    --config.schedule.batch_size=64 --config.model.stats_batch=64 \
    --config.model.backbone_size=128 --config.loss.blur_kimg=50 \
    --config.loss.path_start_kimg=200 --config.optim.ema_half_life_kimg=20 \
    --config.train.tick_kimg=2 --config.eval.num_images=4096 \
    --config.schedule.total_kimg="$1" "${@:2}"
}

# The same command continues a run that was stopped: the length is always that of the
# speed after 8 kimg.
[[ -f $run/stats.jsonl && $(wc -l < "$run/stats.jsonl") -ge 4 ]] || train 8
kimg=$(python3 - "$run/stats.jsonl" "$seconds" << 'END'
import json, sys
row = json.loads(open(sys.argv[1]).readlines()[3])
print(8 + int(row["Timing/img_per_sec"] * float(sys.argv[2]) / 1000))
END
)
train "$kimg"
train "$kimg" --mode=eval
