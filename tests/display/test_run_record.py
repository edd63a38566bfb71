"""Rows of many ticks, in few."""

import json

import pytest

from progan_jax.display.page import write_report
from progan_jax.display.run_record import condense, read_run
from progan_jax.errors import UserError


def row(kimg, resolution, loss):
    return {"Progress/kimg": kimg, "Progress/resolution": resolution, "loss": loss}


def test_few_rows_stay_as_they_are():
    rows = [row(1, 4, 0.5), row(2, 4, None)]
    assert condense(rows, 2) == rows


def test_many_rows_are_means_that_span_no_two_stages():
    rows = [row(n, 4, float(n)) for n in range(1, 4)]
    rows += [row(n, 8, None if n == 4 else float(n)) for n in range(4, 8)]
    means = condense(rows, 4)
    assert [r["Progress/kimg"] for r in means] == [2, 3, 5, 7]
    assert [r["Progress/resolution"] for r in means] == [4, 4, 8, 8]
    assert [r["loss"] for r in means] == pytest.approx([1.5, 3, 5, 6.5])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"starts": 5}, "it has starts = 5 and needs a list there"),
        ({"starts": [5]}, r"it has starts = \[5\] and needs records"),
        ({"total_kimg": float("nan")}, "is not a JSON number"),
        ({"total_kimg": float("inf")}, "is not a JSON number"),
        ({"total_kimg": "long"}, "needs a number there"),
        ({"total_kimg": None}, "needs a number there"),
        ({"batch_size": 0}, "needs text there"),
        ({"batch_size": "0"}, "must be at least 1; raise it"),
        ({"fade_kimg": "1e308"}, "must be at most 1e9; lower it"),
        ({"fade_kimg": float("nan")}, "is not a JSON number"),
    ],
)
def test_a_damaged_config_is_a_mistake_in_one_line(run, changes, message):
    record = json.loads((run / "config.json").read_text())
    for name, value in changes.items():
        place = record if name == "starts" else record["config"]["schedule"]
        place[name] = value
    (run / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=message) as error:
        write_report(run, run / "report.html")
    assert "\n" not in str(error.value)


def test_odd_versions_and_numbers_are_left_out_of_the_report(run):
    record = json.loads((run / "config.json").read_text())
    record["starts"][0]["versions"] = 5
    (run / "config.json").write_text(json.dumps(record))
    rows = (run / "stats.jsonl").read_text().splitlines()
    rows[4] = json.dumps(json.loads(rows[4]) | {"Loss/d_loss": float("inf")})
    rows[5] = json.dumps(json.loads(rows[5]) | {"Loss/g_loss": "text"})
    rows[6] = json.dumps(json.loads(rows[6]) | {"Progress/kimg": float("nan")})
    rows[7] = json.dumps(json.loads(rows[7]) | {"Timing/total_hours": None})
    rows += ["5", "null", "[]", "{}", '{"Progress/nimg": 1000}']
    (run / "stats.jsonl").write_text("\n".join(rows) + "\n")
    write_report(run, run / "report.html")
    assert len(read_run(run).rows) == 10


@pytest.mark.parametrize("huge", [1e308, -1e308])
def test_rows_of_huge_numbers_leave_a_report(run, huge):
    rows = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    for row in rows[2:5]:
        row |= {name: huge for name in row if name.startswith(("Loss/", "Health/"))}
        row.pop("checksum", None)
    rows[6] |= {"Timing/img_per_sec": huge}
    rows[6].pop("checksum", None)
    (run / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = (run / "metrics.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    record["values"] = dict.fromkeys(record["values"], huge)
    record.pop("checksum", None)
    lines[0] = json.dumps(record)
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    write_report(run, run / "report.html")


def test_damaged_lines_of_the_metrics_are_one_warning_of_the_report(run, capsys):
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'\n\xff\n5\nnull\n[]\n{}\n{"snapshot": "x", "metric": "fid"}\n')
    write_report(run, run / "report.html")
    assert "80 (best)" not in (run / "report.html").read_text()
    assert "40 (best)" in (run / "report.html").read_text()
    assert capsys.readouterr().err.count("6 damaged line(s) are left out") == 1
