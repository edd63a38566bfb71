"""A profile of the steps, added up by kernel, by HLO operation and by layer.

JAX's profiler writes an xplane file, which `jax.profiler.ProfileData` reads. On GPUs a
plane of the device has a line for each stream with the kernels and copies that ran
there; XLA adds the HLO operation to each (hlo_op). On TPUs the line "XLA Ops" has the
operations themselves. On CPUs they are among the events of the host's threads, where
those of control flow contain the others and are left out.

The layer of an operation is read from its op_name in the compiled program's text, as
benchmarks/counting.py does before compilation. A fusion has the name of its root, so
that what XLA fuses over two layers counts in the one of the result.
"""

import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.profiler import ProfileData

OUTSIDE = "outside of layers"
_CONTROL = {"while", "conditional", "call", "async-start", "async-done"}
_DEVICE = re.compile(r"/device:(GPU|TPU):\d+")
_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?(?P<name>[\w.-]+) = .*? (?P<opcode>[a-z][a-z\d-]*)\("
)
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_NETWORK = re.compile(r"\b(Generator|Discriminator)\b")
# As in counting.py: the innermost name that ends in a resolution.
_LAYER = re.compile(r"\w+_(?:(\d+)x\1)\b")
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_COMMON = re.compile(r"^jit\(\w+\)/while/body/")


class Event(NamedTuple):
    """One execution of a kernel, or of an operation on a CPU; times in ns."""

    kernel: str
    op: str
    start: float
    duration: float


class Op(NamedTuple):
    """An instruction of a compiled program.

    Attributes:
      opcode: Such as fusion; after that of a custom call comes its target.
      op_name: Where the program's source has it, by the names of modules and functions.
    """

    opcode: str
    op_name: str


def profile(run: Callable[[], jax.Array], hlo: str, pairs: int) -> dict[str, Any]:
    """Profiles one dispatch.

    Args:
      run: Starts it, and returns what is ready when it has ended.
      hlo: Text of the compiled program.
      pairs: (D, G) pairs of the dispatch.

    Returns:
      As `summary`, with wall_ms.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            started = time.perf_counter()
            run().block_until_ready()
            wall = time.perf_counter() - started
        (file,) = Path(folder).rglob("*.xplane.pb")
        data = ProfileData.from_file(str(file))
    return {"wall_ms": 1000 * wall / pairs, **summary(data, hlo, pairs)}


def summary(data: Any, hlo: str, pairs: int) -> dict[str, Any]:
    """Adds up all events of the program.

    Returns:
      busy_ms of a pair: the time in which at least one event ran. The tables "kernels",
      "ops" and "layers": rows of names, then microseconds and events of a pair, the
      longest first. The names of "ops" are those of instruction, opcode, kernel,
      op_name and layer.
    """
    ops = instructions(hlo)
    with warnings.catch_warnings():
        # Its types have no __module__: where warnings are errors, Python 3.12 aborts.
        warnings.simplefilter("ignore", DeprecationWarning)
        found = list(events(data, ops))
    kernels: dict[tuple[str, ...], list[float]] = {}
    by_op: dict[tuple[str, ...], list[float]] = {}
    layers: dict[tuple[str, ...], list[float]] = {}
    for event in found:
        op = ops.get(event.op, Op("", ""))
        layer = layer_of(op.op_name)
        places = (
            (kernels, (event.kernel,)),
            (by_op, (event.op, op.opcode, event.kernel, op.op_name, layer)),
            (layers, (layer,)),
        )
        for table, key in places:
            total = table.setdefault(key, [0.0, 0])
            total[0] += event.duration / 1e3
            total[1] += 1
    return {
        "pairs": pairs,
        "busy_ms": _busy(found) / 1e6 / pairs,
        "columns": "names, microseconds a pair, events a pair",
        "kernels": _rows(kernels, pairs),
        "ops": _rows(by_op, pairs),
        "layers": _rows(layers, pairs),
    }


def events(data: Any, ops: dict[str, Op]) -> Iterator[Event]:
    """Yields what ran on the first device, or on the CPU if there is none.

    Args:
      data: The profile.
      ops: Instructions of the program; on a CPU the events of others are left out.
    """
    planes = {plane.name: plane for plane in data.planes}
    devices = sorted(filter(_DEVICE.match, planes))
    if not devices:
        for plane in planes.values():
            for event in (event for line in plane.lines for event in line.events):
                op = _stats(event).get("hlo_op", "")
                if op in ops and ops[op].opcode not in _CONTROL:
                    yield Event(event.name, op, event.start_ns, event.duration_ns)
        return
    for line in planes[devices[0]].lines:
        # Other lines repeat them, by module or by step.
        if line.name == "XLA Ops" or (line.name or "").startswith("Stream"):
            for event in line.events:
                op = _op_of(event.name, _stats(event).get("hlo_op", ""), ops)
                yield Event(event.name, op, event.start_ns, event.duration_ns)


def _stats(event: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in event.stats}


def _op_of(kernel: str, op: str, ops: dict[str, Op]) -> str:
    """Returns the operation of a kernel.

    Within a CUDA graph XLA may name the graph's own operation; the kernel of a fusion
    has its name then, with _ for each other character.
    """
    if op in ops and ops[op].opcode not in _CONTROL:
        return op
    name = kernel.removeprefix("%").split(" ")[0]
    for guess in (name, re.sub(r"_(\d+)$", r".\1", name)):
        if guess in ops:
            return guess
    return op


def instructions(hlo: str) -> dict[str, Op]:
    """Returns the instructions of a program's text by their names."""
    found = {}
    for line in hlo.splitlines():
        if match := _INSTRUCTION.match(line):
            name, target = _OP_NAME.search(line), _TARGET.search(line)
            op_name = _COMMON.sub("", name[1]) if name else ""
            opcode = " ".join([match["opcode"], *([target[1]] if target else [])])
            found[match["name"]] = Op(opcode, op_name)
    return found


def layer_of(op_name: str) -> str:
    """Returns network and layer of an operation, such as Generator/block_8x8."""
    layers = [match[0] for match in _LAYER.finditer(op_name)]
    networks = _NETWORK.findall(op_name)
    if not layers:
        return networks[-1] if networks else OUTSIDE
    return "/".join([*networks[-1:], layers[-1]])


def _busy(found: list[Event]) -> float:
    """Returns the nanoseconds in which at least one event ran."""
    total, end = 0.0, float("-inf")
    for event in sorted(found, key=lambda event: event.start):
        stop = event.start + event.duration
        total += max(stop - max(event.start, end), 0.0)
        end = max(end, stop)
    return total


def _rows(
    table: dict[tuple[str, ...], list[float]], pairs: int
) -> list[list[str | float]]:
    rows = sorted(table.items(), key=lambda item: -item[1][0])
    return [
        [*names, round(us / pairs, 3), round(count / pairs, 3)]
        for names, (us, count) in rows
    ]
