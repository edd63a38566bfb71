#!/usr/bin/env bash
# Runs a module of this project on one host of a Cloud TPU slice, or on all of them:
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all --command \
#     "cd progan_jax && ./run_tpu.sh progan_jax.main --config=configs/cifar10.py"
set -euo pipefail
cd "$(dirname "$0")"
if [[ $# -eq 0 ]]; then
  echo "usage: $0 MODULE [--flag=value ...]" >&2
  exit 2
fi
venv="${PROGAN_VENV:-$HOME/.venvs/progan_jax}"
if [[ ! -x "$venv/bin/python" ]]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --editable '.[tpu]'
fi
exec "$venv/bin/python" -m "$@"
