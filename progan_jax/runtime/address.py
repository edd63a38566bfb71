"""Where process 0 of a run is, and which of how many this one is."""

from contextlib import suppress
from dataclasses import dataclass

from progan_jax.errors import UserError


@dataclass(frozen=True)
class Address:
    """Where process 0 is.

    Attributes:
      host: Name or address of it.
      port: Free there.
      given: How the user said so: a flag.
    """

    host: str
    port: int
    given: str = "--coordinator"

    def __str__(self) -> str:
        """Returns how a message begins."""
        return f"{self.given}={self.host}:{self.port}"


def check_address(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> tuple[Address, int, int]:
    """Returns what the three flags say: address of process 0, how many, which this is.

    Raises:
      UserError: if they do not belong together or are faulty.
    """
    if coordinator is None or num_processes is None or process_id is None:
        raise UserError(
            "--coordinator, --num_processes and --process_id belong together; give "
            "all three, or --distributed on Cloud TPU, Slurm and Open MPI, or none"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(
            f"--coordinator={coordinator}: it must be HOST:PORT of process 0; write "
            "for example 10.0.0.1:8476"
        )
    if num_processes < 1:
        raise UserError(f"--num_processes={num_processes} must be at least 1; raise it")
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id={process_id} must lie in [0, {num_processes}) for "
            f"--num_processes={num_processes}; number the processes from 0"
        )
    return Address(host.strip("[]"), int(port)), num_processes, process_id


def find_cluster(timeout_sec: float) -> tuple[Address, int, int] | None:
    """Returns what `check_address` does, as Cloud TPU, Slurm or Open MPI has it.

    None where JAX finds none, or no longer tells: its `initialize` then has its say.
    """
    with suppress(Exception):  # JAX has no public way to ask.
        from jax._src.clusters import ClusterEnv

        found = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, max(int(timeout_sec), 1)
        )
        host, _, port = (found[0] or "").rpartition(":")
        number, process_id = found[1], found[2]
        if host and number is not None and process_id is not None:
            address = Address(host.strip("[]"), int(port), "--distributed: HOST")
            return address, number, process_id
    return None
