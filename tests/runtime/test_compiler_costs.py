import jax
import jax.numpy as jnp
from jax.experimental import io_callback
from jax.sharding import PartitionSpec

from progan_jax.runtime.compiler import collectives, host_transfers, memory
from progan_jax.runtime.mesh import batched, make_mesh, replicated

TPU_TEXT = """
  %all-reduce.7 = (f32[8,128]{1,0:T(8,128)}, f32[4]{0:T(128)}, f32[]{:T(128)}, f32[],
   /*index=5*/bf16[2,2]{1,0:T(4,128)(2,1)}) all-reduce(%a, %b, %c, %d, %e), channel_id=1
  %ar-start = f32[16]{0} all-reduce-start(f32[16]{0} %f), to_apply=%add
  %ar-done = f32[16]{0} all-reduce-done(f32[16]{0} %ar-start)
  %g = u8[32]{0} all-gather(u8[4]{0} %h), channel_id=2, dimensions={0}
  %clone = u8[32]{0:T(8)S(1)} all-gather(u8[4]{0} %h2), channel_id=2, dimensions={0}
  %add = f32[] add(%all-reduce.7, %g)
""".replace(",\n   /*", ", /*")


def test_collectives_of_a_tpu_program_are_counted_once_with_their_bytes():
    reduced = 4 * (8 * 128 + 4 + 1 + 1) + 2 * 4 + 4 * 16
    assert collectives(TPU_TEXT) == {"all-reduce": (2, reduced), "all-gather": (1, 32)}


def test_gradients_over_devices_are_reduced_and_nothing_else():
    mesh = make_mesh()
    loss = jax.grad(lambda w, x: jnp.mean(jnp.tanh(x @ w)))
    arguments = [
        jax.ShapeDtypeStruct((3, 5), jnp.float32, sharding=replicated(mesh)),
        jax.ShapeDtypeStruct((16, 3), jnp.float32, sharding=batched(mesh)),
    ]
    step = jax.jit(loss, out_shardings=replicated(mesh)).lower(*arguments).compile()
    assert collectives(step.as_text()) == {"all-reduce": (1, 4 * 3 * 5)}
    assert not host_transfers(step.as_text())


def test_gathering_what_was_split_is_seen():
    mesh = make_mesh()
    split = jax.ShapeDtypeStruct((16, 3), jnp.float32, sharding=batched(mesh))
    gather = jax.jit(lambda x: x * 2, out_shardings=replicated(mesh))
    assert PartitionSpec() == replicated(mesh).spec
    found = collectives(gather.lower(split).compile().as_text())
    assert found == {"all-gather": (1, 4 * 16 * 3)}


def test_callbacks_are_host_transfers():
    def loud(x):
        return io_callback(lambda value: value, x, x)

    text = jax.jit(loud).lower(jnp.ones(3)).compile().as_text()
    assert host_transfers(text)
    assert host_transfers("  %s = (f32[], u32[]) send(f32[] %x, token[] %t)") == [
        "send"
    ]


def test_donated_arguments_are_counted_once():
    x = jax.ShapeDtypeStruct((1024,), jnp.float32)
    kept = memory(jax.jit(lambda x: x + 1).lower(x).compile())
    donated = memory(jax.jit(lambda x: x + 1, donate_argnums=0).lower(x).compile())
    assert kept - donated == 4096
    assert 4096 <= donated < 8192 <= kept < 3 * 4096
