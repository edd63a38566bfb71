"""Set-up of all tests: eight CPU devices, strict JAX, and a cache of programs."""

import gc
import json
import os
import sys
from pathlib import Path

from tests.xla import is_known

# Without bytecode on disk each process that a test starts parses JAX for 2 s.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
# Before JAX is imported: it reads them once.
os.environ["JAX_PLATFORMS"] = "cpu"
# Programs run for seconds at most: optimising them, and XLA's newer way of writing out
# loops, would take more than half of all time. The last flag is gone since JAX 0.12.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        *filter(is_known, ["--xla_cpu_use_fusion_emitters=false"]),
    )
)
# Commands that tests start share the cache, and keep out of the user's.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".jax_cache")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import hypothesis
import jax
import pytest

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".jax_cache"

sys.dont_write_bytecode = False
CACHE.mkdir(mode=0o700, exist_ok=True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def own_emitters(monkeypatch):
    """Compiles steps as without the tests' own setting.

    Under it, sums in another order differ by 1e-9 after some pairs, and not by 1e-12.
    """
    if "fusion_emitters" in os.environ["XLA_FLAGS"]:
        options = {"xla_cpu_use_fusion_emitters": True}
        monkeypatch.setattr(
            "progan_jax.training.stage.compiler_options", lambda *_: options
        )


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def tiny_config():
    """Digits from 4x4 to 16x16 in 0.32 kimg: seconds, once it is compiled."""
    from progan_jax.configs import base

    config = base.get_config()
    config.data.name = "digits"
    config.model.resolution = 16
    config.model.channels = 1
    config.model.latent_size = 8
    config.model.fmap_base = 32
    config.model.fmap_max = 8
    config.model.mbstd_group_size = 4
    config.schedule.stabilise_kimg = "0.064"
    config.schedule.fade_kimg = "0.064"
    config.schedule.total_kimg = 0.32
    config.schedule.batch_size = "8"
    config.schedule.rampup_kimg = 0.0
    config.schedule.quantum_pairs = 2
    config.train.tick_kimg = "0.032"
    config.train.grid = "4x2"
    config.train.grid_ticks = 1
    config.train.snapshot_ticks = 1
    config.train.checkpoint_ticks = 1
    config.runtime.pairs_per_dispatch = 4
    config.runtime.num_devices = 1
    return config


@pytest.fixture
def tiny_stylegan(tiny_config):
    """That run with StyleGAN, from 8x8 on."""
    from progan_jax.configs import base

    config = base.get_config("stylegan")
    for group in ("data", "schedule", "train", "runtime"):
        config[group].update(tiny_config[group])
    sizes = ("latent_size", "w_size", "mapping_width", "fmap_max")
    config.model.update(dict.fromkeys(sizes, 8))
    config.model.resolution = 16
    config.model.channels = 1
    config.model.mapping_layers = 2
    config.model.fmap_base = 32
    config.optim.ema_half_life_kimg = 0.05
    config.optim.ema_after = "d_step"
    config.schedule.start_resolution = 8
    return config


@pytest.fixture
def tiny_xl(tiny_config):
    """A run of StyleGAN-XL at 16x16; `tests.tiny_xl` has its images and weights."""
    from progan_jax.configs import base
    from tests.tiny_xl import SIDE, SIZES

    config = base.get_config("stylegan_xl")
    for group in ("data", "schedule", "train", "runtime"):
        config[group].update(tiny_config[group])
    config.model.update(SIZES)
    config.model.stats_batch = 2
    config.data.augment = "color,translation,cutout"
    config.loss.path_every, config.loss.path_start_kimg = 2, 0.0
    config.loss.blur_kimg = 0.1
    config.optim.d_beta2 = 0.98
    config.optim.ema_half_life_kimg, config.optim.ema_rampup = 0.05, 0.05
    config.schedule.start_resolution = SIDE
    return config


@pytest.fixture(autouse=True)
def few_directions(monkeypatch):
    """Lets SWD take 8 directions of 512: its values matter in tests/metrics alone."""
    monkeypatch.setattr("progan_jax.metrics.swd._REPEATS", 1)
    monkeypatch.setattr("progan_jax.metrics.swd._DIRECTIONS", 8)


PROGRAMS, COMPILED, STATES = {}, {}, {}


@pytest.fixture
def shared_programs(monkeypatch):
    """Traces and compiles the programs of a configuration once in a process.

    Without it each run, and each resume, would trace its programs again: 5 s.
    """
    from progan_jax.models.progan import ablation
    from progan_jax.training import stage
    from progan_jax.training.stage import StageProgram
    from progan_jax.training.steps import Steps

    make, compile_steps = StageProgram.__init__, StageProgram._compile
    abstract_state = StageProgram.abstract_state

    def init(self, config, schedule, resolution, mesh, label_counts=(), blank=False):
        make(self, config, schedule, resolution, mesh, label_counts, blank)
        fields = config.to_dict()
        # What runs the programs, and does not go into them.
        del fields["train"], fields["eval"], fields["data"]["data_dir"]
        for length in ("stabilise_kimg", "fade_kimg", "total_kimg"):
            del fields["schedule"][length]
        anywhere = (
            resolution,
            tuple(mesh.devices.flat),
            jax.config.jax_enable_x64,
            # What tests replace.
            Steps.run,
            stage.compiler_options,
            stage.fit_to_reals,
            stage.scale_by_authors_adam,
            ablation._CALM,
        )
        self.key = json.dumps(fields, sort_keys=True), tuple(label_counts), *anywhere
        first = PROGRAMS.setdefault(self.key, self)
        self.sampler = first.sampler
        for name in ("grow", "fit", "run", "reset_optimizers", "reset_sums"):
            setattr(self, f"_{name}", getattr(first, f"_{name}"))
        # A first state does not depend on lengths, rates, batches and data.
        steps, stages = self.steps, tuple(schedule.resolutions)
        born = steps.generator, steps.discriminator, steps.options.loss, stages
        self._create = PROGRAMS.setdefault((*born, *anywhere), self)._create

    def compile_once(self, shape):
        if (self.key, shape) not in COMPILED:
            COMPILED[self.key, shape] = compile_steps(self, shape)
        return COMPILED[self.key, shape]

    def abstract_once(self):
        if self.key not in STATES:
            STATES[self.key] = abstract_state(self)
        return STATES[self.key]

    monkeypatch.setattr(StageProgram, "__init__", init)
    monkeypatch.setattr(StageProgram, "_compile", compile_once)
    monkeypatch.setattr(StageProgram, "abstract_state", abstract_once)


STATM = Path("/proc/self/statm")  # Linux's; elsewhere everything is kept.
PAGE, KEPT_BYTES = os.sysconf("SC_PAGE_SIZE"), 3 * 2**30


@pytest.fixture(scope="module", autouse=True)
def dropped_programs():
    """Drops compiled programs after a file where a process holds much.

    Otherwise two workers would end with 9 GB each, and little would be left for files.
    """
    yield
    if STATM.exists() and int(STATM.read_text().split()[1]) * PAGE > KEPT_BYTES:
        for kept in (PROGRAMS, COMPILED, STATES):
            kept.clear()
        jax.clear_caches()
        gc.collect()


def pytest_collection_finish():
    # What is imported stays: to look through it again takes one part in twenty.
    gc.freeze()
