"""The time of a JAX program, by the clock."""

import time
from collections.abc import Callable
from typing import Any

import jax


def seconds_of(run: Callable[[], Any], seconds: float) -> float:
    """Returns the mean time of a call, from calls of so many seconds.

    The first call, which may compile, does not count. One call always waits behind the
    one that runs, so that a device is never idle.
    """
    jax.block_until_ready(run())
    before, count, started = run(), 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        after = run()
        jax.block_until_ready(before)
        before, count = after, count + 1
    jax.block_until_ready(before)
    return (time.perf_counter() - started) / (count + 1)
