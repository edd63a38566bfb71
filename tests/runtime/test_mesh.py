import jax
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.runtime.mesh import batched, make_mesh, replicated, select_devices


def test_a_mesh_has_one_axis_over_all_devices():
    mesh = make_mesh()
    assert mesh.shape == {"data": 8}
    assert make_mesh(jax.devices()[:2]).size == 2


def test_batches_are_split_and_parameters_are_not():
    mesh = make_mesh()
    x = np.zeros((3, 16, 2))
    split = jax.device_put(x, batched(mesh, axis=1))
    assert {s.data.shape for s in split.addressable_shards} == {(3, 2, 2)}
    whole = jax.device_put(x, replicated(mesh))
    assert {s.data.shape for s in whole.addressable_shards} == {x.shape}


def test_devices_are_the_first_ones_or_all():
    assert select_devices(3) == jax.devices()[:3]
    assert select_devices(0) == jax.devices()


def test_more_devices_than_there_are_is_a_mistake():
    with pytest.raises(UserError, match=r"num_devices = 9 exceeds the 8 cpu device"):
        select_devices(9)


def test_a_negative_number_of_devices_is_a_mistake():
    with pytest.raises(UserError, match="num_devices = -1 must be at least 0"):
        select_devices(-1)


def test_processes_have_equally_many_devices(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    local = {0: jax.devices()[:4], 1: jax.devices()[4:]}
    monkeypatch.setattr(jax, "local_devices", local.get)
    chosen = select_devices(4)
    assert chosen == [*jax.devices()[:2], *jax.devices()[4:6]]
    with pytest.raises(UserError, match="num_devices = 3 is not divisible by 2 proc"):
        select_devices(3)
