"""What the cases find, on networks of a few maps."""

import json

import pytest

from benchmarks.case import KINDS
from benchmarks.roofline import Peaks


@pytest.fixture
def request_of(tiny_config):
    def make(kind, **more):
        config = tiny_config.copy_and_resolve_references()
        config.model.resolution = 4
        config.schedule.batch_size = "4"
        config.runtime.deterministic = kind == "deterministic"
        request = {"kind": kind, "config": config.to_dict(), "resolution": 4}
        return json.loads(json.dumps(request | {"seconds": 0.02} | more))

    return make


def found(request):
    """Returns what a case prints, line by line."""
    return [json.loads(json.dumps(part)) for part in KINDS[request["kind"]](request)]


def test_steps_are_timed_after_their_costs_and_before_their_profile(request_of):
    costs, times, profiled = found(request_of("steps", profile=True))
    assert costs["images"] == 4
    assert costs["compiled"]["fusion"] > 10
    assert costs["floors"]["flops"] > 0
    assert times["ms"] > 0
    assert profiled["profile"]["pairs"] <= 8
    layers = {row[0] for row in profiled["profile"]["layers"]}
    assert {"Generator/block_4x4", "Discriminator/block_4x4"} <= layers


def test_two_runs_of_eight_pairs_are_compared(request_of):
    _, bits, times = found(request_of("deterministic"))
    assert bits["same_bits"], "CPUs give the same bits"
    assert len(bits["digests"]) == 2
    assert times["ms"] > 0


def test_the_numbers_of_seeds_come_one_by_one(request_of, monkeypatch):
    monkeypatch.setattr("benchmarks.case.measure", lambda *given: (1.5, 8.0 * given[2]))
    first, both = found(request_of("seeds", seeds=[1, 2]))
    assert [row["seeds"] for row in both["rows"]] == [1, 2]
    assert first["rows"] == both["rows"][:1]
    # Of 8 and 16 pairs times seeds per second.
    assert [row["ms"] for row in both["rows"]] == [125, 125]


def test_a_device_has_peaks_after_its_name(monkeypatch):
    monkeypatch.setattr("benchmarks.case.measure_peaks", lambda _: Peaks(1.0, 2.0))
    name, measured = found({"kind": "device"})
    assert (name["platform"], name["device"]) == ("cpu", "cpu")
    assert {"git", "versions", "driver", "platform_version", "date"} <= set(name)
    assert measured == {"peaks": {"float32": {"flops": 1.0, "bandwidth": 2.0}}}
