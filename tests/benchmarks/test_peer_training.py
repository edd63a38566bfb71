"""The shortened schedule by which other programs are trained."""

import numpy as np

from tests.benchmarks.in_pytorch import answer, needs_pytorch

RECORDED = """
import json, numpy as np, peer_training
from trained_peers import Schedule
class Recorder:
    def __init__(self, request): pass
    def grow(self): self.calls.append("grow")
    def fade(self, new): self.calls.append(new)
    def step(self, reals): self.calls.append(list(reals.shape))
peer_training.PROGRAMS["recorder"] = Recorder
peer_training._factor = lambda *given: 0.25
peer_training._write_samples = lambda *given: None
images = {str(side): np.zeros((9, side, side, 3), np.uint8) for side in (4, 8, 16)}
request = {"peer": "recorder", "widths": [4, 4, 4], "batch": 2}
def recorded(jumps):
    Recorder.calls, Recorder.schedule = [], Schedule(1, 40, 60, fade=28, jumps=jumps)
    kimg = peer_training.train(request, images)["kimg"]
    return {"calls": Recorder.calls, "kimg": kimg}
print(json.dumps([recorded(jumps) for jumps in (100, 3)]))
"""


def expected(weights):
    """Returns the calls of 10 steps at 8x8 and 15 at 16x16, 7 of which fade in."""
    calls = [1.0] + 10 * [[2, 3, 8, 8]] + ["grow"]
    for i in range(15):
        calls += [weights[i]] if i in weights else []
        calls.append([2, 3, 16, 16])
    return calls


@needs_pytorch
def test_each_scale_has_its_share_of_the_iterations_and_a_fade_that_ends_at_one():
    many_jumps, few_jumps = answer(RECORDED)
    assert many_jumps["calls"] == expected({i: i / 7 for i in range(8)})
    few = {0: 0.0, 2: 2 / 7, 4: 4 / 7, 6: 6 / 7, 7: 1.0}
    assert few_jumps["calls"] == expected(few)
    for found in (many_jumps, few_jumps):
        assert np.isclose(found["kimg"], 2 * 25 / 1000)
