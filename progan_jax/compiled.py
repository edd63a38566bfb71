"""What a compiled program says of itself: memory, work and collectives."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

_WIDTHS = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8}
_COLLECTIVE = re.compile(
    r" = (?P<shapes>.*?) (?P<kind>all-reduce|all-gather|all-to-all|reduce-scatter"
    r"|collective-permute|collective-broadcast)(?:-start)?\("
)
_SHAPE = re.compile(r"\b(pred|bf16|[a-z]+\d+)\[([\d,]*)\]")
_TRANSFERS = re.compile(
    r" (infeed|outfeed|send|recv|send-done|recv-done)\(|(callback)", re.IGNORECASE
)


@dataclass(frozen=True)
class Memory:
    """Bytes that a program takes on one device.

    Attributes:
      arguments: What it is given.
      outputs: What it returns, less what it writes over its arguments.
      temporaries: What it needs meanwhile, at its peak.
      code: The program itself.
    """

    arguments: int
    outputs: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """Bytes of all four."""
        return self.arguments + self.outputs + self.temporaries + self.code


def memory(compiled: jax.stages.Compiled) -> Memory:
    """Returns the compiler's account of the memory of one device."""
    stats: Any = compiled.memory_analysis()
    return Memory(
        arguments=stats.argument_size_in_bytes,
        outputs=stats.output_size_in_bytes - stats.alias_size_in_bytes,
        temporaries=stats.temp_size_in_bytes,
        code=stats.generated_code_size_in_bytes,
    )


def flops(compiled: jax.stages.Compiled) -> float:
    """Returns the operations on one device; the body of a loop is counted once."""
    costs: Any = compiled.cost_analysis()
    return costs.get("flops", 0.0)


def collectives(hlo: str) -> Mapping[str, tuple[int, int]]:
    """Returns number and bytes of the collectives in a program's text, by their kind.

    Each stands for one execution: the body of a loop is counted once.
    """
    found: dict[str, tuple[int, int]] = {}
    for match in _COLLECTIVE.finditer(hlo):
        count, size = found.get(match["kind"], (0, 0))
        found[match["kind"]] = count + 1, size + _num_bytes(match["shapes"])
    return found


def host_transfers(hlo: str) -> list[str]:
    """Returns the instructions of a program's text that talk to the host."""
    return [match[1] or match[2] for match in _TRANSFERS.finditer(hlo)]


def _num_bytes(shapes: str) -> int:
    total = 0
    for dtype, sides in _SHAPE.findall(shapes):
        size = _WIDTHS.get(dtype) or -(-int(re.sub(r"\D", "", dtype)) // 8)
        for side in filter(None, sides.split(",")):
            size *= int(side)
        total += size
    return total
