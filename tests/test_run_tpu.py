"""The script for TPU slices, with a gcloud that only prints its arguments."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "run_tpu.sh"
HEAD = subprocess.run(
    ["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True
).stdout.strip()
RUN = [
    "--config=configs/celeba_hq.py:pod16",
    "--workdir=gs://my-bucket/runs/pod 16",
    "--config.data.data_dir=gs://sets",
    "--config.schedule.batch_size=64, 4:512",
]


NOTE = """#!/bin/sh
printf '<%s>' "$(basename "$0")" "$@" >>"$CALLS" && echo >>"$CALLS"
"""
# A slice of one worker, to which it copies and where it runs the given commands.
SLICE = """#!/bin/bash
for argument; do
  case $argument in
    --command=*) cd "$WORKER" && HOME=$WORKER exec bash -c "${argument#--command=}" ;;
    pod:*) cp "$before" "$WORKER/${argument#pod:}" ;;
  esac
  before=$argument
done
"""
# Makes the environment's python a copy of itself.
PYTHON = f"""{NOTE}
[ "$2 $3" = "uv venv" ] || exit 0
for folder; do :; done
mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python"
"""


def put_on_path(tmp_path, **programs):
    """Writes programs for a shell; returns the environment that finds them first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
        "CALLS": str(tmp_path / "calls"),
        "WORKER": str(tmp_path / "worker"),
    }


@pytest.fixture
def gcloud(tmp_path):
    """Puts a gcloud on the path that writes its arguments down."""
    calls = tmp_path / "calls"
    environment = put_on_path(tmp_path, gcloud=NOTE)

    def run(command):
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True
        )
        called = calls.read_text() if calls.exists() else ""
        calls.unlink(missing_ok=True)
        return done, called

    return run


def test_dry_run_does_nothing_and_prints_what_does_the_same(gcloud):
    done, called = gcloud([SCRIPT, "pod", "us-east1-d", "--", *RUN])
    assert done.returncode == 0, done.stderr
    printed, nothing = gcloud([SCRIPT, "pod", "us-east1-d", "--dry_run", "--", *RUN])
    assert nothing == ""
    pasted, again = gcloud(["bash", "-euc", printed.stdout])
    assert pasted.returncode == 0, pasted.stderr
    assert again == called


def test_every_command_goes_to_all_workers_of_the_zone(gcloud):
    _, called = gcloud([SCRIPT, "pod", "us-east1-d", "--", *RUN])
    assert called.count("<--worker=all>") == called.count("<--zone=us-east1-d>") == 5


def test_a_worker_ends_up_with_code_environment_buckets_and_run(tmp_path):
    environment = put_on_path(tmp_path, gcloud=SLICE, python3=PYTHON, gcsfuse=NOTE)
    home = tmp_path / "worker"
    (home / "progan_jax/progan_jax").mkdir(parents=True)
    (home / "progan_jax/progan_jax/of_an_older_checkout.py").touch()
    subprocess.run([SCRIPT, "pod", "a", "--", *RUN], env=environment, check=True)
    for name in ("progan_jax/main.py", "configs/celeba_hq.py", "pyproject.toml"):
        assert (home / "progan_jax" / name).read_text() == (ROOT / name).read_text()
    assert not (home / "progan_jax/progan_jax/of_an_older_checkout.py").exists()
    python = home / ".venvs/progan_jax/bin/python"
    mount = "<gcsfuse><--implicit-dirs><--rename-dir-limit=10000>"
    assert (tmp_path / "calls").read_text().splitlines() == [
        "<python3><-m><uv><--version>",
        f"<python3><-m><uv><venv><--quiet><--python><3.12><{python.parents[1]}>",
        f"<python3><-m><uv><pip><install><--quiet><--python><{python}><--constraint>"
        "<constraints/py312.txt><--editable><.[tpu]>",
        f"{mount}<my-bucket><{home}/gcs/my-bucket>",
        f"{mount}<sets><{home}/gcs/sets>",
        "<python><-m><progan_jax.main><--distributed>"
        "<--config=configs/celeba_hq.py:pod16>"
        "<--workdir=../gcs/my-bucket/runs/pod 16>"
        "<--config.data.data_dir=../gcs/sets>"
        "<--config.schedule.batch_size=64, 4:512>",
    ]


def test_the_run_gets_its_commit(gcloud):
    _, called = gcloud([SCRIPT, "pod", "us-east1-d", "--", *RUN])
    last = called[called.rindex("<--command=") :]
    assert f"PROGAN_JAX_COMMIT={HEAD}" in last


@pytest.mark.parametrize(
    "flag", ["--config=./configs/celeba_hq.py", "--config", "--config=celeba_hq:pod16"]
)
def test_the_configuration_may_be_named_from_here(gcloud, flag):
    rest = [] if "=" in flag else ["./configs/celeba_hq.py:pod16"]
    done, called = gcloud([SCRIPT, "pod", "a", "--", flag, *rest])
    assert done.returncode == 0, done.stderr
    assert flag.removeprefix("--config=./configs/") in called


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "NAME and ZONE of the slice are missing"),
        (["pod", "--zone=a"], "NAME and ZONE come before all flags"),
        (["", "a", "--", *RUN], "NAME or ZONE of the slice is empty"),
        (["pod", "", "--", *RUN], "NAME or ZONE of the slice is empty"),
        (["pod", "a", "--config=x"], "'--' must come before the flags of the run"),
        (["pod", "a", "--"], "--config is missing after '--'"),
        (["pod", "a", "--", "--config.seed=1"], "--config is missing after '--'"),
        (["pod", "a", "--", "--config"], "--config is missing after '--'"),
        (
            ["pod", "a", "--", "--config=configs/no.py:x"],
            "there is no configs/no.py here",
        ),
        (["pod", "a", "--", "--config=no:x"], "there is no configs/no.py here"),
        (
            ["pod", "a", "--", "--config", "/a/no.py"],
            "must lie in configs/, copy it there",
        ),
        (
            ["pod", "a", "--", RUN[0], "--workdir", "gs://B/x"],
            "'gs://B/x' is not a flag with a bucket's folder, write --flag=gs://",
        ),
        (
            ["pod", "a", "--", RUN[0], "--config.data.data_dir", "gs://sets"],
            "'gs://sets' is not a flag with a bucket's folder, write --flag=gs://",
        ),
        (["pod", "a", "--", *RUN, "--dry_run"], "--dry_run comes before '--'"),
    ],
)
def test_a_mistake_is_one_line(gcloud, arguments, words):
    done, called = gcloud([SCRIPT, *arguments])
    assert (done.returncode, called, done.stdout) == (2, "", "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["pod", "a", "--help"]])
def test_help_prints_the_usage_and_does_nothing(gcloud, arguments):
    done, called = gcloud([SCRIPT, *arguments])
    assert (done.returncode, called, done.stderr) == (0, "", "")
    assert "./run_tpu.sh NAME ZONE [--dry_run] -- --config=" in done.stdout
    assert done.stdout.endswith("See docs/tpu.md.\n")
    assert max(map(len, done.stdout.splitlines())) <= 100


# Both take what they do from the next line of a file.
NEXT = """#!/bin/bash
name=$(basename "$0") && echo "$name${4:+ $4}" >>"$CALLS"
read -r code line <"$name.txt" && sed -i 1d "$name.txt"
echo "$line"
exit "$code"
"""
GCLOUD = f"""#!/bin/bash
[ "$4" = create ] || exec echo "gcloud $4" >>"$CALLS"
{NEXT}
"""


@pytest.mark.parametrize(
    ("runs", "creations", "expected"),
    [
        (["0 done: 9.0 kimg; see grids"], [], "run"),
        (["2"], [], "run"),
        (["3"], [], "run"),
        (
            ["0 SIGTERM at 1.0 kimg: state saved", "0 done: 9.0 kimg"],
            ["0"],
            "run delete create run",
        ),
        (
            ["255", "1", "0 done: 9.0 kimg"],
            ["1", "0", "0"],
            "run delete create sleep create run delete create run",
        ),
    ],
)
def test_the_spot_loop_continues_until_the_run_is_done_or_reports_a_mistake(
    tmp_path, runs, creations, expected
):
    section = (ROOT / "docs/tpu.md").read_text().split("## Spot machines")[1]
    loop = section.split("```sh\n")[1].split("```")[0]
    environment = put_on_path(tmp_path, gcloud=GCLOUD, sleep=NOTE)
    (tmp_path / "run_tpu.sh").write_text(NEXT)
    (tmp_path / "run_tpu.sh").chmod(0o755)
    (tmp_path / "run_tpu.sh.txt").write_text("\n".join(runs) + "\n")
    (tmp_path / "gcloud.txt").write_text("\n".join(creations) + "\n")
    names = {"NAME": "pod", "ZONE": "a", "PRESET": "x", "TYPE": "t", "VERSION": "v"}
    subprocess.run(
        ["bash", "-c", loop], env=environment | names, cwd=tmp_path, timeout=30
    )
    called = (tmp_path / "calls").read_text()
    assert re.findall("run(?=_tpu)|delete|create|sleep", called) == expected.split()


@pytest.mark.parametrize("script", ["run_tpu.sh", "examples/slurm.sh"])
def test_shellcheck_finds_nothing(script):
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, ROOT / script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
