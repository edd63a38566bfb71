import csv
import json
from functools import partial

import pytest

from progan_jax.errors import UserError
from progan_jax.files import seal
from progan_jax.metrics.scoreboard import Scoreboard, check_best, format_table

SETTINGS = {"num_images": 8}


def add(board, snapshot, metric="swd", settings=SETTINGS, **values):
    nimg = 0 if snapshot == "reals" else int(snapshot.split("_")[0]) * 1000
    board.add(snapshot, "0f", nimg, metric, values, settings, {"date": "today"})


@pytest.fixture
def board(tmp_path):
    (tmp_path / "snapshots").mkdir()
    return Scoreboard(tmp_path)


def test_what_was_written_is_found_again_under_the_same_settings_only(board, tmp_path):
    add(board, "000001_r004", swd_average=3.0)
    again = Scoreboard(tmp_path)
    assert again.find("000001_r004", "0f", "swd", SETTINGS) == {"swd_average": 3.0}
    assert again.find("000001_r004", "0f", "swd", {"num_images": 16}) is None
    assert again.find("000001_r004", "0f", "fid", SETTINGS) is None
    assert again.find("000002_r004", "0f", "swd", SETTINGS) is None


def test_records_of_earlier_versions_are_of_images_that_were_not_truncated(board):
    add(board, "000001_r004", swd_average=3.0)
    find = partial(board.find, "000001_r004", "0f", "swd")
    assert find(SETTINGS | {"truncation_psi": 1.0}) == {"swd_average": 3.0}
    assert find(SETTINGS | {"truncation_psi": 0.7}) is None


def test_a_snapshot_of_the_same_name_with_other_weights_is_another(board):
    add(board, "000001_r004", swd_average=3.0)
    assert board.find("000001_r004", "1e", "swd", SETTINGS) is None


def test_two_processes_may_write_at_once(board, tmp_path):
    other = Scoreboard(tmp_path)
    add(board, "000001_r004", swd_average=3.0)
    add(other, "000001_r004", "fid", fid=9.0)
    add(board, "000002_r004", swd_average=2.0)
    assert other.find("000002_r004", "0f", "swd", SETTINGS) == {"swd_average": 2.0}
    assert board.find("000001_r004", "0f", "fid", SETTINGS) == {"fid": 9.0}


def test_a_line_that_a_kill_cut_short_is_left_out(board, tmp_path):
    add(board, "000001_r004", swd_average=3.0)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"snapshot": "0000')
    again = Scoreboard(tmp_path)
    add(again, "000002_r004", swd_average=2.0)
    for snapshot in ("000001_r004", "000002_r004"):
        assert again.find(snapshot, "0f", "swd", SETTINGS) is not None
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(lines[i])["nimg"] for i in (0, 2)] == [1000, 2000]


@pytest.mark.parametrize(
    "line",
    [
        *(b"5", b"null", b"[]", b"{}", b'"text"', b"\xff\xfe", b"[" * 100_000),
        b'{"snapshot": 1, "metric": "", "settings": {}, "nimg": 1, "values": {}}',
        b'{"snapshot": "", "metric": "", "settings": 5, "nimg": 1, "values": {}}',
        b'{"snapshot": "", "metric": "", "settings": {}, "nimg": NaN, "values": {}}',
        b'{"snapshot":"", "metric":"", "settings":{}, "nimg":1, "values":{"a":""}}',
    ],
)
def test_damaged_lines_are_left_out_with_one_warning(board, tmp_path, capsys, line):
    add(board, "000001_r004", swd_average=3.0)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(line + b"\n" + line + b"\n")
    add(board, "000002_r004", swd_average=2.0)
    for _ in range(2):
        names = [record["snapshot"] for record in Scoreboard(tmp_path).records()]
        assert names == ["000001_r004", "000002_r004"]
    assert board.write_best("swd_average", "swd", SETTINGS) == "000002_r004"
    assert capsys.readouterr().err == (
        f"warning: {tmp_path / 'metrics.jsonl'}: 2 damaged line(s) are left out; "
        "--mode=eval measures again what is missing\n"
    )


def test_a_record_in_which_one_value_was_changed_is_left_out(board, tmp_path, capsys):
    add(board, "000001_r004", swd_average=3.0)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().replace("3.0", "1.0"))
    assert board.find("000001_r004", "0f", "swd", SETTINGS) is None
    assert "1 damaged line(s)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kept", "missing"), [(0, 2), (1, 1), (None, 2)], ids=["none", "one", "no file"]
)
def test_records_that_are_gone_are_counted(board, tmp_path, capsys, kept, missing):
    add(board, "000001_r004", swd_average=3.0)
    add(board, "000002_r004", swd_average=2.0)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.unlink()
    if kept is not None:
        path.write_text("".join(lines[:kept]))
    assert len(board.records()) == 2 - missing
    assert capsys.readouterr().err == (
        f"warning: {path}: {missing} row(s) of metrics.csv are missing in it; "
        "--mode=eval measures again what is missing\n"
    )


def test_records_of_earlier_runs_have_no_checksum_and_count(board, tmp_path, capsys):
    add(board, "000001_r004", swd_average=3.0)
    path = tmp_path / "metrics.jsonl"
    record = json.loads(path.read_text())
    del record["checksum"]
    path.write_text(json.dumps(record) + "\n")
    assert board.find("000001_r004", "0f", "swd", SETTINGS) == {"swd_average": 3.0}
    assert capsys.readouterr().err == ""


def test_records_that_cannot_be_read_are_a_mistake_in_one_line(board, tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics.jsonl cannot be read \(Is a dir"):
        board.records()


def test_a_value_that_is_not_a_number_is_not_the_best(board):
    add(board, "000001_r004", swd_average=float("nan"))
    add(board, "000002_r004", swd_average=2.0)
    assert board.write_best("swd_average", "swd", SETTINGS) == "000002_r004"


def test_csv_has_a_row_for_each_snapshot_and_settings(board, tmp_path):
    add(board, "reals", swd_average=0.5)
    add(board, "000001_r004", swd_average=3.0)
    add(board, "000001_r004", "ms_ssim", ms_ssim=0.25)
    add(board, "000001_r004", settings={"num_images": 16}, swd_average=2.5)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["snapshot"] for row in rows] == ["reals", "000001_r004", "000001_r004"]
    assert rows[1]["ms_ssim"] == "0.25"
    assert rows[1]["swd_average"] == "3.0"
    expected = {"num_images": 16, "truncation_psi": 1.0}
    assert json.loads(rows[2]["settings"]) == expected


def test_csv_is_written_again_whatever_it_holds(board, tmp_path):
    board.write_csv()
    assert not (tmp_path / "metrics.csv").exists()
    add(board, "000001_r004", swd_average=3.0)
    whole = (tmp_path / "metrics.csv").read_text()
    (tmp_path / "metrics.csv").write_text(whole.replace("3.0", "8.0"))
    board.write_csv()
    assert (tmp_path / "metrics.csv").read_text() == whole


@pytest.mark.parametrize(
    ("name", "best"),
    [("swd_average", "000002_r008"), ("inception_score_mean", "000003_r008")],
)
def test_best_is_the_lowest_or_the_highest_by_the_metric(board, tmp_path, name, best):
    for snapshot, value in (("000001_r004", 3), ("000002_r008", 1), ("000003_r008", 5)):
        add(board, snapshot, **{name: value})
    add(board, "reals", **{name: 0 if name == "swd_average" else 9})
    assert board.write_best(name, "swd", SETTINGS) == best
    note = json.loads((tmp_path / "snapshots" / "best").read_text())
    assert note == seal({"snapshot": best})


def test_values_of_other_settings_do_not_compete(board):
    add(board, "000001_r004", settings={"num_images": 2}, swd_average=0.1)
    add(board, "000002_r004", swd_average=2.0)
    add(board, "000003_r004", swd_average=3.0)
    assert board.write_best("swd_average", "swd", SETTINGS) == "000002_r004"
    other = {"num_images": 2}
    assert board.write_best("swd_average", "swd", other) == "000001_r004"


def test_the_latest_value_of_a_name_counts(board):
    add(board, "000001_r004", swd_average=1.0)
    add(board, "000002_r004", swd_average=2.0)
    add(board, "000001_r004", swd_average=3.0)
    assert board.write_best("swd_average", "swd", SETTINGS) == "000002_r004"


def test_a_value_that_was_not_measured_names_no_snapshot(board, tmp_path):
    add(board, "000001_r004", swd_average=3.0)
    assert board.write_best("fid", "fid", SETTINGS) is None
    assert not (tmp_path / "snapshots" / "best").exists()


@pytest.mark.parametrize("name", ["ms_ssim", "fid", "kid_std", "swd"])
def test_a_value_that_is_not_measured_or_has_no_direction_is_refused(name):
    names = ["swd_16", "swd_average", "kid_mean"]
    with pytest.raises(UserError, match=r"from swd_16, swd_average, kid_mean$"):
        check_best(name, names)
    check_best("swd_average", names)


def test_table_aligns_all_values_and_leaves_gaps():
    text = format_table(
        [("reals", 0.0, {"swd": 0.5}), ("000012_r032", 12.0, {"swd": 3.25, "fid": 9})]
    )
    assert text.splitlines() == [
        "snapshot     kimg   swd  fid",
        "reals               0.5",
        "000012_r032    12  3.25    9",
    ]
