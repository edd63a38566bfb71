#!/usr/bin/env bash
# Trains on the GPUs of several machines under Slurm, one process for each GPU:
#   sbatch examples/slurm.sh --config=configs/celeba_hq.py:v2_8gpus --workdir=RUN ...
# from the root of the project, with its environment in .venv. RUN and the images lie on
# a disk that all machines share. Slurm sends SIGTERM five minutes before the time is up:
# the run saves its state and ends; sbatch the same line to continue.
#SBATCH --job-name=progan_jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --output=slurm-%j.log
set -euo pipefail
# One process that fails ends the job, which is not left waiting for it.
exec srun --kill-on-bad-exit=1 .venv/bin/python -m progan_jax.main --distributed "$@"
