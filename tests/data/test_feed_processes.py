"""Two processes of two devices each feed one run."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from progan_jax.data.index_stream import IndexStream

ROOT = Path(__file__).parents[2]
N, D, BATCH, PAIRS = 50, 2, 8, 3

# Process argv[1] of two at port argv[2]; writes the rows of its devices to argv[3].
PROGRAM = f"""
import sys
import jax
import numpy as np
jax.distributed.initialize(f"127.0.0.1:{{sys.argv[2]}}", 2, int(sys.argv[1]))
from progan_jax.data.index_stream import IndexStream
from progan_jax.data.feed import Feed, plan_feed
from progan_jax.data.pyramid import Pyramid
from progan_jax.runtime.mesh import (batched, make_mesh, replicated)

class Recorded:
    shape, nbytes, read = ({N}, 4, 4, 1), {N} * 16, []
    def __len__(self):
        return {N}
    def __getitem__(self, indices):
        if isinstance(indices, slice):
            indices = np.arange({N})[indices]
        self.read.append(indices.shape)
        values = indices.astype(np.uint8)[..., None, None, None]
        return np.broadcast_to(values, (*indices.shape, 4, 4, 1))

mesh, saved = make_mesh(), {{}}
for mode in ("streamed", "resident"):
    level = Recorded()
    pyramid = Pyramid("numbers", {{4: level}}, np.arange({N}, dtype=np.int32), {N}, "")
    plan = plan_feed(
        level.shape, batch_size={BATCH}, d_repeats={D}, max_pairs={PAIRS}, mode=mode
    )
    feed = Feed(
        pyramid, IndexStream(7, {N}, mirror=True), plan,
        replicated=replicated(mesh), batched=batched(mesh, axis=2),
    )
    batches = feed.batches(16, {PAIRS})
    name = "images" if mode == "streamed" else "indices"
    for shard in getattr(batches, name).addressable_shards:
        first = shard.index[2].start or 0
        values = np.asarray(shard.data).reshape(*shard.data.shape[:3], -1)[..., 0]
        saved[f"{{mode}} {{first}}"] = values
    for shard in batches.mirror.addressable_shards:
        saved[f"{{mode}} mirror {{shard.index[2].start or 0}}"] = np.asarray(shard.data)
    feed.close()
    if mode == "streamed":
        assert {{shape[2] for shape in level.read}} == {{{BATCH} // 2}}, level.read
np.savez(sys.argv[3], **saved)
"""


def test_each_process_holds_and_reads_the_rows_of_its_own_devices(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    environment = os.environ | flags | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    files = [tmp_path / f"{process}.npz" for process in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(process), port, str(file)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process, file in enumerate(files)
    ]
    for process in processes:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    saved = [dict(np.load(file)) for file in files]
    assert not saved[0].keys() & saved[1].keys()
    order, flips = IndexStream(7, N, mirror=True).take(16, PAIRS * D * BATCH)
    for name, rows in (saved[0] | saved[1]).items():
        first = int(name.split()[-1])
        wanted = (flips if "mirror" in name else order).reshape(PAIRS, D, BATCH)
        assert np.array_equal(rows, wanted[:, :, first : first + 2]), name
    assert len(saved[0]) == len(saved[1]) == 2 * 2 * 2
