"""Where a cluster says that process 0 is, by its environment alone."""

import pytest

from progan_jax.runtime.rendezvous import find_cluster

SLURM = {
    "SLURM_JOB_ID": "12345",
    "SLURM_STEP_NODELIST": "node[07-08]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}


@pytest.fixture
def slurm(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)


def test_slurm_tells_the_first_node_and_the_numbers(slurm):
    address, num_processes, process_id = find_cluster(5)
    # JAX's port of a job: one of the last 4096, by the job's number.
    assert str(address) == f"--distributed: HOST=node07:{65536 - 4096 + 12345 % 4096}"
    assert (num_processes, process_id) == (2, 1)


def test_where_jax_no_longer_tells_there_is_no_address(slurm, monkeypatch):
    monkeypatch.setattr("jax._src.clusters.ClusterEnv", None)
    assert find_cluster(5) is None


def test_without_a_cluster_there_is_no_address(monkeypatch):
    for name in SLURM:
        monkeypatch.delenv(name, raising=False)
    assert find_cluster(5) is None
