"""The next stage's steps, compiled while this stage trains."""

from collections.abc import Callable

import jax
import ml_collections

from progan_jax.data.pyramid import Pyramid
from progan_jax.schedule import Schedule
from progan_jax.stage import StageProgram


def compiles_ahead(
    config: ml_collections.ConfigDict, platform: str, num_processes: int
) -> bool:
    """Returns whether a run compiles ahead, as runtime.compile_ahead says.

    "auto" does so on accelerators: on CPUs the compiler and the steps would share the
    cores. And in one process alone: on GPUs, several wait for each other's autotuning
    while they compile, and one of them that stops or grows would hold the others up.
    """
    wish = config.runtime.compile_ahead
    auto = platform != "cpu" and num_processes == 1
    return auto if wish == "auto" else wish == "on"


class NextProgram:
    """Makes the programs of the stages to come, of which it may compile one ahead."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        mesh: jax.sharding.Mesh,
        pyramid: Pyramid,
        make: Callable[[int], StageProgram],
    ) -> None:
        """Compiles nothing yet; `make` returns the program of a resolution."""
        platform = mesh.devices.flat[0].platform
        self._ahead = compiles_ahead(config, platform, jax.process_count())
        self._pyramid, self._make = pyramid, make
        self._next: StageProgram | None = None

    def start(self, schedule: Schedule, nimg: int) -> None:
        """Begins to compile for the stage after the one that trains image `nimg`."""
        end = schedule.stage_end(schedule.stage_at(nimg))
        if not self._ahead or end >= schedule.end_nimg():
            return
        resolution = schedule.stage_at(end).resolution
        self._next = self._make(resolution)
        self._next.compile_ahead(self._pyramid.levels[resolution].shape)

    def take(self, resolution: int) -> StageProgram:
        """Returns the program of a resolution; its `prepare` waits for the compiler."""
        program, self._next = self._next, None
        if program is None or program.resolution != resolution:
            return self._make(resolution)
        return program
