#!/usr/bin/env bash
# Trains on all workers of a Cloud TPU slice, from a machine that has gcloud:
#   ./run_tpu.sh NAME ZONE [--dry_run] -- --config=configs/X.py [--workdir=gs://B/RUN] ...
# Copies this checkout to every worker, makes the environment there if it is missing or
# old, mounts the buckets that the flags name at ~/gcs/BUCKET, and starts one process on
# each worker. The same command continues after a stop. --dry_run only prints every
# command, quoted for a shell. See docs/tpu.md.
set -euo pipefail
cd "$(dirname "$0")"

for argument in "$@"; do
  case $argument in
    -h | --help) exec sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${0##*/}" ;;
    --) break ;;
  esac
done

usage() {
  echo "error: $1; usage: ./run_tpu.sh NAME ZONE [--dry_run] -- --config=FILE ..." >&2
  exit 2
}

# Prints a command, or runs it.
run() {
  if [[ $dry_run == true ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# Runs a shell command on every worker at once.
on_workers() {
  run gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"
}

[[ $# -ge 2 ]] || usage "NAME and ZONE of the slice are missing"
name=$1 zone=$2
shift 2
[[ -n $name && -n $zone ]] || usage "NAME or ZONE of the slice is empty"
[[ $name != -* && $zone != -* ]] || usage "NAME and ZONE come before all flags"
dry_run=false
if [[ ${1:-} == --dry_run ]]; then
  dry_run=true
  shift
fi
[[ ${1:-} == -- ]] || usage "'--' must come before the flags of the run"
shift

# Check here what the workers would refuse minutes later.
config=''
for ((i = 1; i <= $#; i++)); do
  case ${!i} in
    --dry_run) usage "--dry_run comes before '--'" ;;
    --config=*) config=${!i#--config=} ;;
    --config) j=$((i + 1)) config=${!j:-} ;;
  esac
done
[[ -n $config ]] || usage "--config is missing after '--'"
file=${config%%:*}
[[ $file == */* || $file == *.py ]] || file=configs/$file.py # The name of a recipe.
[[ ${file#./} == configs/* ]] || usage "--config=$config must lie in configs/, copy it there"
[[ -f $file ]] || usage "--config=$config: there is no $file here"

# Buckets are mounted next to the checkout: gs://B/x is ../gcs/B/x from there.
arguments='' buckets=' '
for argument in "$@"; do
  if [[ $argument =~ ^(--[a-z_.]+=)gs://([a-z0-9._-]+)(/.*)?$ ]]; then
    argument="${BASH_REMATCH[1]}../gcs/${BASH_REMATCH[2]}${BASH_REMATCH[3]}"
    [[ $buckets == *" ${BASH_REMATCH[2]} "* ]] || buckets+="${BASH_REMATCH[2]} "
  elif [[ $argument == *gs://* ]]; then
    usage "'$argument' is not a flag with a bucket's folder, write --flag=gs://BUCKET/FOLDER"
  fi
  arguments+=" $(printf '%q' "$argument")"
done

# The workers get no repository to read the commit from.
commit=$(git rev-parse HEAD 2>/dev/null || true)
if [[ -n $commit && -n $(git status --porcelain --untracked-files=no) ]]; then
  commit+=+dirty
fi

archive="${TMPDIR:-/tmp}/progan_jax_$name.tar.gz"
run tar --create --gzip --file="$archive" \
  progan_jax configs constraints setup.cfg pyproject.toml README.md LICENSE
run gcloud compute tpus tpu-vm scp "$archive" "$name:progan_jax.tar.gz" \
  --zone="$zone" --worker=all

# uv installs a Python where the machine's is older than 3.11.
on_workers 'set -eu
mkdir -p progan_jax && cd progan_jax
rm -rf progan_jax configs constraints && tar -xzf ../progan_jax.tar.gz
python3 -m uv --version >/dev/null 2>&1 || python3 -m pip install --quiet --user uv
[ -x ~/.venvs/progan_jax/bin/python ] ||
  python3 -m uv venv --quiet --python 3.12 ~/.venvs/progan_jax
python3 -m uv pip install --quiet --python ~/.venvs/progan_jax/bin/python \
  --constraint constraints/py312.txt --editable ".[tpu]"'

# Checkpoints are completed by renaming their folder, which gcsfuse refuses by default.
for bucket in $buckets; do
  on_workers "set -eu
if ! command -v gcsfuse >/dev/null; then
  key=/usr/share/keyrings/cloud.google.asc apt=https://packages.cloud.google.com/apt
  curl --silent --show-error --fail \$apt/doc/apt-key.gpg | sudo tee \$key >/dev/null
  echo \"deb [signed-by=\$key] \$apt gcsfuse-\$(lsb_release -cs) main\" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  sudo apt-get -qq update && sudo apt-get -qq install gcsfuse
fi
mkdir -p ~/gcs/$bucket
mountpoint -q ~/gcs/$bucket ||
  gcsfuse --implicit-dirs --rename-dir-limit=10000 $bucket ~/gcs/$bucket"
done

on_workers "cd progan_jax && export PROGAN_JAX_COMMIT=$commit
exec ~/.venvs/progan_jax/bin/python -m progan_jax.main --distributed$arguments"
