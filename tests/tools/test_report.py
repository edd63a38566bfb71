"""The tool, on a run that was recorded by hand."""

import json
import re

import pytest
from absl.testing import flagsaver

from progan_jax.errors import UserError


@pytest.fixture
def run(tmp_path, tiny_config):
    folder = tmp_path / "run"
    (folder / "grids").mkdir(parents=True)
    record = {"starts": [], "config": tiny_config.to_dict()}
    (folder / "config.json").write_text(json.dumps(record))
    row = {
        "Progress/kimg": 0.032,
        "Progress/nimg": 32,
        "Progress/resolution": 4,
        "Progress/alpha": 1.0,
        "Timing/sec_per_tick": 1.0,
        "Timing/img_per_sec": 32.0,
        "Timing/total_sec": 1.0,
        "Timing/total_hours": 1 / 3600,
    }
    (folder / "stats.jsonl").write_text(json.dumps(row) + "\n")
    return folder


@pytest.fixture
def report(import_tool):
    """Returns a function that writes a run's report by the tool."""
    tool = import_tool("report")

    def report_by_flags(folder, **flags):
        with flagsaver.flagsaver(**flags):
            tool.main(str(folder))

    return report_by_flags


def test_the_page_is_written_and_unreadable_grids_are_named(run, report, capsys):
    (run / "grids" / "fakes_000000_r004.png").write_bytes(b"no picture")
    report(run)
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{run / 'report.html'}: 0.")
    assert printed.out.endswith(" MiB, 0 of 1 grids\n")
    assert printed.err == (
        "warning: left out, as they cannot be read: fakes_000000_r004.png in "
        f"{run / 'grids'}\n"
    )
    text = (run / "report.html").read_text()
    assert "Left out as unreadable: fakes_000000_r004.png." in text


@pytest.mark.parametrize("out", ["/proc/x/report.html", "/proc"])
def test_a_file_that_cannot_be_written_is_one_line(run, report, out):
    check(lambda: report(run, out=out), f"--out={out}: [Errno ")


def test_a_folder_that_is_not_a_runs_is_named(tmp_path, report):
    check(lambda: report(tmp_path), f"RUN={tmp_path}: it is not the folder of a run")


GROUPS = ("data", "loss", "model", "optim", "runtime", "schedule", "train", "eval")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("stats.jsonl", "{}", "its stats.jsonl has no tick yet; let the run"),
        ("config.json", '{"config": {}}', "config.json cannot be read"),
        (
            "config.json",
            json.dumps({"config": {group: {} for group in GROUPS}}),
            "it has no config.data.mirror",
        ),
    ],
)
def test_folders_that_lack_something_end_in_one_line(
    run, report, file, content, message
):
    (run / file).write_text(content)
    check(lambda: report(run), message)


def check(command, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        command()
    assert "\n" not in str(error.value)
