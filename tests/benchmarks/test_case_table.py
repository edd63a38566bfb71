"""The table of a record, of which any part may be missing."""

import json

import pytest

from benchmarks.case_table import case_table
from benchmarks.results import main


def steps(resolution=8, **results):
    name = f"steps hq {resolution} bfloat16"
    row = {"case": name, "kind": "steps", "recipe": "hq", "resolution": resolution}
    return row | {"dtype": "bfloat16", "status": "ok", "took_sec": 1.0} | results


def other(kind, **results):
    row = {"case": f"{kind} hq 8", "kind": kind, "recipe": "hq", "resolution": 8}
    return row | {"dtype": "float32", "status": "ok"} | results


@pytest.fixture
def timed():
    costs = {"images": 4, "compile_sec": 2.0, "from_cache": 0, "peak_bytes": 2**21}
    floors = {"flops": 2e9, "num_bytes": 3e9}
    return steps(ms=20.0, floors=floors, **costs)


@pytest.fixture
def record():
    return {
        "device": "Chip",
        "peaks": {"bfloat16": {"flops": 1e12, "bandwidth": 1e12}},
        "cache": "without a cache",
        "took_sec": 590.4,
        "peer": None,
        "cases": [],
    }


def cells(record):
    return [x.strip("| ").split(" | ") for x in case_table(record) if "|" in x]


def test_a_case_has_its_speed_share_memory_and_compile_time(record, timed):
    record["cases"] = [timed]
    # The memory's 3 ms bind, of 20.
    expected = ["hq 8 bfloat16", "20.00", "200.0", "15.0", "2", "2.0"]
    assert cells(record)[2:] == [expected]
    record["peaks"] = {}
    assert cells(record)[2][3] == "-"
    timed["from_cache"] = 1
    assert cells(record)[2][5] == "2.0 (cached)"


def test_the_peers_time_stands_beside_ours_or_alone(record, timed):
    record["peer"] = "gan_zoo"
    alone = other("peer", ms=4.5) | {"resolution": 4}
    record["cases"] = [timed, other("peer", ms=90.0), alone]
    header, _, first, second = cells(record)
    assert header[-1] == "gan_zoo in float32, ms"
    assert first[-1] == "90.00"
    assert (second[0], second[-1]) == ("hq 4", "4.50")


def test_seeds_and_bits_have_a_line_each(record):
    rows = [{"seeds": 1, "ms": 2.0}, {"seeds": 5, "ms": 4.0}]
    bits = {"same_bits": True, "digests": ["a", "a"], "ms": 7.0}
    again = {"same_bits": True, "digests": ["b", "b"], "ms": 7.0}
    record["cases"] = [
        other("seeds", rows=rows),
        other("deterministic", **bits),
        other("deterministic", **again),
        other("deterministic", **bits),
    ]
    lines = list(case_table(record))[-4:]
    assert lines[0].endswith("1: 2.00 (1.00), 5: 4.00 (2.50)")
    assert lines[1].endswith("7.00 ms a pair, two runs have the same bits")
    assert lines[2].endswith("the same bits, but not of the first compilation")
    assert lines[3].endswith("the same bits, as of the first compilation")


def test_what_failed_is_listed_also_if_nothing_else_is_there(record):
    record["cases"] = [
        steps(compile_sec=2.0) | {"status": "timed out", "error": "ended after 9 s"}
    ]
    lines = list(case_table(record))
    assert lines[-1] == "- steps hq 8 bfloat16: timed out: ended after 9 s"
    assert not cells(record)


def test_results_prints_it_from_its_file(record, timed, tmp_path, capsys):
    record["cases"] = [timed]
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    main(str(path))
    assert capsys.readouterr().out.splitlines() == list(case_table(record))
