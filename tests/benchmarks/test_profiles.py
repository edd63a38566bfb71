"""Profiles added up: one of a GPU made by hand, and one recorded here."""

import jax
import jax.numpy as jnp
import pytest
from jax.profiler import ProfileData

from benchmarks.profiles import OUTSIDE, instructions, layer_of, profile, summary

HLO = """HloModule jit_run, is_scheduled=true

%fused (p: f32[2]) -> f32[2] {
  ROOT %add.1 = f32[2]{0} add(%p, %p), metadata={op_name="jit(run)/while/body/add"}
}

ENTRY %main {
  %loop_add_fusion.3 = (f32[2]{0}, /*index=1*/f32[2]{0}) fusion(%x), kind=kLoop, \
calls=%fused, metadata={op_name="jit(run)/while/body/jvp(Generator)/block_8x8/add"}
  %cudnn-conv.1 = (f32[2]{0}, u8[0]{0}) custom-call(%x, %y), \
custom_call_target="__cudnn$convForward", \
metadata={op_name="jit(run)/while/body/transpose(jvp(Discriminator))/block_4x4/conv/conv"}
  %graph = f32[2]{0} call(%x), to_apply=%commands
  ROOT %while.2 = f32[2]{0} while(%x), condition=%c, body=%b
}
"""
DGRAD = "sm90_dgrad<float, 3>"


def plane(name, lines):
    """Returns a plane as text; an event is (name, start and length in us, hlo_op)."""
    names = sorted({event[0] for events in lines.values() for event in events})
    parts = [
        f'event_metadata {{ key: {i} value {{ id: {i} name: "{n}" }} }}'
        for i, n in enumerate(names)
    ]
    parts.append('stat_metadata { key: 1 value { id: 1 name: "hlo_op" } }')
    for line, events in lines.items():
        rows = "".join(
            f"events {{ metadata_id: {names.index(n)} offset_ps: {start * 10**6} "
            f"duration_ps: {length * 10**6} "
            + (f'stats {{ metadata_id: 1 str_value: "{op}" }}' if op else "")
            + "}"
            for n, start, length, op in events
        )
        parts.append(f'lines {{ name: "{line}" {rows} }}')
    return f'planes {{ name: "{name}" {" ".join(parts)} }}'


def profile_of(*planes):
    text = ProfileData.text_proto_to_serialized_xspace("\n".join(planes))
    return ProfileData.from_serialized_xspace(text)


@pytest.fixture
def gpu():
    streams = {
        "Stream #7(Kernel)": [
            ("loop_add_fusion_3", 0, 10, "loop_add_fusion.3"),
            (DGRAD, 10, 30, "cudnn-conv.1"),
            ("padding", 40, 2, "cudnn-conv.1"),
            # Within a CUDA graph: the name of the graph's call, or none.
            ("loop_add_fusion_3", 60, 12, "graph"),
            ("loop_add_fusion_3", 72, 14, ""),
        ],
        "Stream #9(MemcpyD2D)": [("MemcpyD2D", 35, 10, "")],
        "XLA Modules": [("jit_run", 0, 1000, "")],
    }
    host = plane("/host:CPU", {"python": [("wait", 0, 5000, "loop_add_fusion.3")]})
    other = plane("/device:GPU:1", {"Stream #7(Kernel)": [("x", 0, 900, "")]})
    return summary(profile_of(host, plane("/device:GPU:0", streams), other), HLO, 2)


def test_all_kernels_of_the_first_gpu_are_added_up_per_pair(gpu):
    assert gpu["kernels"] == [
        ["loop_add_fusion_3", 18.0, 1.5],
        [DGRAD, 15.0, 0.5],
        ["MemcpyD2D", 5.0, 0.5],
        ["padding", 1.0, 0.5],
    ]
    assert gpu["pairs"] == 2


def test_kernels_belong_to_operations_and_these_to_layers(gpu):
    call = "custom-call __cudnn$convForward"
    name = "transpose(jvp(Discriminator))/block_4x4/conv/conv"
    d, g = "Discriminator/block_4x4", "Generator/block_8x8"
    fusion, in_g = "loop_add_fusion", "jvp(Generator)/block_8x8/add"
    assert gpu["ops"] == [
        [f"{fusion}.3", "fusion", f"{fusion}_3", in_g, g, 18.0, 1.5],
        ["cudnn-conv.1", call, DGRAD, name, d, 15.0, 0.5],
        ["", "", "MemcpyD2D", "", OUTSIDE, 5.0, 0.5],
        ["cudnn-conv.1", call, "padding", name, d, 1.0, 0.5],
    ]
    assert gpu["layers"] == [[g, 18.0, 1.5], [d, 16.0, 1.0], [OUTSIDE, 5.0, 0.5]]


def test_the_device_is_busy_while_at_least_one_kernel_runs(gpu):
    # 0 to 45 and 60 to 86 microseconds, of two pairs.
    assert gpu["busy_ms"] == pytest.approx(0.0355)


def test_tpus_have_operations_in_a_line_of_their_own():
    lines = {
        "XLA Ops": [("%loop_add_fusion.3 = f32[2] fusion(%x)", 0, 4, "")],
        "Steps": [("1", 0, 90, "")],
    }
    found = summary(profile_of(plane("/device:TPU:0", lines)), HLO, 1)
    assert found["layers"] == [["Generator/block_8x8", 4.0, 1.0]]


def test_on_cpus_control_flow_and_other_programs_are_left_out():
    thread = [
        ("while.2", 0, 100, "while.2"),
        ("loop_add_fusion.3", 5, 10, "loop_add_fusion.3"),
        ("end: loop_add_fusion.3", 15, 1, ""),
        ("other.1", 20, 10, "other.1"),
    ]
    found = summary(profile_of(plane("/host:CPU", {"tf_XLAEigen/1": thread})), HLO, 1)
    assert found["kernels"] == [["loop_add_fusion.3", 10.0, 1.0]]


def test_a_profile_without_events_is_empty():
    found = summary(profile_of(plane("/device:GPU:0", {})), HLO, 1)
    assert (found["busy_ms"], found["kernels"], found["layers"]) == (0, [], [])


def test_instructions_are_read_with_tuples_and_targets():
    found = instructions(HLO)
    assert {name: op.opcode for name, op in found.items()} == {
        "add.1": "add",
        "loop_add_fusion.3": "fusion",
        "cudnn-conv.1": "custom-call __cudnn$convForward",
        "graph": "call",
        "while.2": "while",
    }
    assert found["add.1"].op_name == "add"


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("jvp(Discriminator)/block_8x8/conv0/mul", "Discriminator/block_8x8"),
        ("Discriminator._from_rgb/from_rgb_16x16/x", "Discriminator/from_rgb_16x16"),
        ("transpose(jvp(Generator))/mul", "Generator"),
        ("other/block_8x8/inner_4x4/mul", "inner_4x4"),
        ("jit(_uniform)/iota_2x32_shape", OUTSIDE),
        ("", OUTSIDE),
    ],
)
def test_the_innermost_layer_counts(name, layer):
    assert layer_of(name) == layer


def test_a_recorded_profile_has_what_ran_by_layer():
    @jax.jit
    def run(x):
        def turn(_, x):
            with jax.named_scope("Generator"), jax.named_scope("block_8x8"):
                return jnp.tanh(x @ x)

        return jax.lax.fori_loop(0, 4, turn, x)

    x = jnp.ones((256, 256))
    compiled = run.lower(x).compile()
    compiled(x).block_until_ready()
    found = profile(lambda: compiled(x), compiled.as_text(), pairs=4)
    rows = {row[0]: row[1:] for row in found["layers"]}
    microseconds, count = rows["Generator/block_8x8"]
    assert count >= 1, "a product in each turn"
    assert microseconds > 0
    assert 0 < found["busy_ms"] <= found["wall_ms"]
