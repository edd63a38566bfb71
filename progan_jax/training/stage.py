"""The compiled programs of one stage, and their inputs on the devices.

The next stage's steps are compiled while this stage trains.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from progan_jax.data.feed import Feed, FeedPlan, plan_feed
from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import warn
from progan_jax.inference.sampling import Sampler
from progan_jax.runtime.background import Background
from progan_jax.runtime.compiler import compiler_options
from progan_jax.runtime.mesh import batched, lay_out, replicated
from progan_jax.training.config import (
    Controls,
    family_of,
    make_networks,
    make_step_options,
    model_options,
    most_devices,
    stage_loss,
    stddev_groups,
)
from progan_jax.training.optimizer import Optimizers, scale_by_authors_adam
from progan_jax.training.schedule import Schedule
from progan_jax.training.start import fit_to_reals, images_to_fit
from progan_jax.training.state import (
    TrainState,
    create_state,
    grow,
    reset_optimizers,
    reset_sums,
)
from progan_jax.training.steps import Batches, Steps


class StageProgram:
    """The compiled programs and the data of one resolution.

    With `blank`, the family's frozen arrays have no meaning, and no file is read: for
    programs that are compiled and not run.

    Attributes:
      resolution: Side in pixels.
      schedule: Schedule of the run; it may change while earlier stages train.
      steps: The pure steps.
      sampler: Draws images from the averaged generator.
      compiled: The steps, compiled for the one shape they take; None until `prepare`.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        schedule: Schedule,
        resolution: int,
        mesh: jax.sharding.Mesh,
        label_counts: Sequence[int] = (),
        blank: bool = False,
    ) -> None:
        batch_size = schedule.batch_size[resolution]
        generator, discriminator = make_networks(
            config, resolution, batch_size // mesh.size
        )
        self._batch_size = batch_size
        self.resolution = resolution
        family = family_of(config)
        self.steps = Steps(
            generator,
            discriminator,
            family,
            make_optimizers(config),
            make_step_options(config, resolution, batch_size, mesh.size),
            batched(mesh),
            family.load_frozen(
                model_options(config), stage_loss(config, resolution), blank
            ),
            # Without a set, as in estimates, all classes are equally frequent.
            label_log_probs=_log_probs(label_counts or [1] * generator.num_classes),
        )
        options = compiler_options(config, mesh.devices.flat[0].platform)
        self.sampler = Sampler(generator, compiler_options=options)
        self._feed: Feed | None = None
        self.schedule, self._config, self._mesh = schedule, config, mesh
        self._seed: Any = config.seed
        everywhere = replicated(mesh)
        jit = partial(jax.jit, out_shardings=everywhere, compiler_options=options)
        self._create = jit(self._create_state)
        self._grow = jit(self._grow_state)
        self._fit = jit(
            partial(fit_to_reals, discriminator=discriminator, family=family)
        )
        self._run = jit(self._run_steps, donate_argnums=0)
        self._frozen: Any = None  # On the devices, after `prepare`.
        self.compiled: jax.stages.Compiled | None = None
        self._ahead: Background[jax.stages.Compiled] | None = None
        self._sums: tuple[str, ...] | None = None  # After the first state.
        self._reset_optimizers = jit(
            partial(reset_optimizers, tx=self.steps.tx.g), donate_argnums=0
        )
        self._reset_sums = jit(reset_sums, donate_argnums=0)

    def prepare(self, pyramid: Pyramid) -> None:
        """Opens the feed of real images, and compiles the steps for the one shape."""
        self._feed = self._open_feed(pyramid)
        everywhere = replicated(self._mesh)
        self._frozen = jax.tree.map(lambda x: lay_out(x, everywhere), self.steps.frozen)
        if self._ahead is not None:
            self.compiled = self._ahead.result()
        else:
            self.compiled = self._compile(pyramid.levels[self.resolution].shape)

    def compile_ahead(self, level_shape: tuple[int, ...]) -> None:
        """Starts to compile the steps in a thread; `prepare` waits for it.

        Nothing is run or put on the devices. Errors are raised by `prepare`.
        """
        # A thread starts with the process's settings, not with its parent's.
        x64 = bool(jax.config.jax_enable_x64)

        def compile_steps() -> jax.stages.Compiled:
            with jax.enable_x64(x64):
                return self._compile(level_shape)

        self._ahead = Background(compile_steps)

    def _compile(self, level_shape: tuple[int, ...]) -> jax.stages.Compiled:
        return self.lower(level_shape).compile()

    def lower(
        self, level_shape: tuple[int, ...], platform: str | None = None
    ) -> jax.stages.Lowered:
        """Lowers the steps from shapes alone, without data or a device.

        Args:
          level_shape: (n, r, r, C) of the level of this resolution.
          platform: "cuda", "tpu" or "cpu"; by default that of the mesh.
        """
        plan = self._plan_feed(level_shape)
        everywhere = replicated(self._mesh)
        batches = plan.abstract(everywhere, batched(self._mesh, axis=2))
        controls = _abstract_controls(plan.shape[0], everywhere)
        frozen = _abstract(self.steps.frozen, everywhere)
        platforms = (platform,) if platform else None
        traced = self._run.trace(self.abstract_state(), batches, controls, frozen)
        return traced.lower(lowering_platforms=platforms)

    def close(self) -> None:
        """Closes the feed of real images."""
        if self._feed is not None:
            self._feed.close()

    def _open_feed(self, pyramid: Pyramid) -> Feed:
        data = self._config.data
        return Feed(
            pyramid,
            IndexStream(self._seed, pyramid.num_images, data.mirror),
            self._plan_feed(pyramid.levels[self.resolution].shape),
            replicated=replicated(self._mesh),
            batched=batched(self._mesh, axis=2),
            stream_workers=data.stream_workers,
        )

    def _plan_feed(self, level_shape: tuple[int, ...]) -> FeedPlan:
        """Returns kind and shapes of the batches of a level (n, r, r, C)."""
        data: Any = self._config.data
        return plan_feed(
            level_shape,
            batch_size=self.schedule.batch_size[self.resolution],
            d_repeats=self.schedule.d_repeats,
            max_pairs=self._config.runtime.pairs_per_dispatch,
            mode=data.feed,
            resident_gib=data.resident_gib,
        )

    def create(self, pyramid: Pyramid | None = None) -> TrainState:
        """Returns the state of a run, or of a stage that restarts, at its first step.

        Without a pyramid, D is not fitted to real images; see `start.images_to_fit`.
        """
        state = self._create(self._key())
        reals = images_to_fit(self._config, pyramid)
        if reals is None:
            return state
        return self._fit(state, lay_out(reals, replicated(self._mesh)))

    def abstract_state(self) -> TrainState:
        """Returns the state's shapes, dtypes and shardings, for a restore.

        What a run starts from is not read: a checkpoint has it.
        """
        create = partial(self._create_state, begins=False)
        state = jax.eval_shape(create, self._key())
        return _abstract(state, replicated(self._mesh))

    def grow(self, state: TrainState) -> TrainState:
        """Returns the state of the previous stage, grown to this resolution."""
        return self._grow(state, self._key())

    def reset_optimizers(self, state: TrainState) -> TrainState:
        """Clears both optimizers; the given state is donated."""
        return self._reset_optimizers(state)

    def reset_sums(self, state: TrainState) -> TrainState:
        """Clears the sums of the tick; the given state is donated."""
        return self._reset_sums(state)

    def run(
        self, state: TrainState, nimg: int, num_pairs: int
    ) -> tuple[TrainState, jax.Array]:
        """Runs `num_pairs` pairs from image `nimg` on; the given state is donated.

        Args:
          state: State of this resolution.
          nimg: Number of images shown before.
          num_pairs: At most `max_pairs`.

        Returns:
          The new state, and a separate copy of its `skipped_in_row`, which stays
          readable when the state is donated.
        """
        assert self.compiled is not None, "prepare first"
        batches = self._prepared_feed.batches(nimg, num_pairs)
        controls = self._controls(nimg, num_pairs)
        return self.compiled(state, batches, controls, self._frozen)

    @property
    def max_pairs(self) -> int:
        """Largest number of pairs in one call of `run`; known after `prepare`."""
        return self._prepared_feed.max_pairs

    @property
    def _prepared_feed(self) -> Feed:
        assert self._feed is not None, "prepare first"
        return self._feed

    def _controls(self, nimg: int, num_pairs: int) -> Controls:
        shown = self.schedule.pair_nimg(self.resolution)
        phases = [self.schedule.phase_at(nimg + i * shown) for i in range(num_pairs)]
        padded = phases + phases[-1:] * (self._prepared_feed.capacity - num_pairs)

        def column(name: str) -> np.ndarray:
            return np.array([getattr(phase, name) for phase in padded], np.float32)

        names = ("alpha", "g_learning_rate", "d_learning_rate")
        values = {name: column(name) for name in names}
        if self.steps.family.RESTARTS:
            nimg -= self.schedule.stage_at(nimg).start_nimg
        values["nimg"] = nimg + shown * np.arange(len(padded), dtype=np.float32)
        values["num_pairs"] = np.asarray(num_pairs, np.int32)
        everywhere = replicated(self._mesh)
        return Controls(**{n: lay_out(v, everywhere) for n, v in values.items()})

    def _run_steps(
        self, state: TrainState, batches: Batches, controls: Controls, frozen: Any
    ) -> tuple[TrainState, jax.Array]:
        # As an argument: as constants they would be a part of every program.
        return replace(self.steps, frozen=frozen).run(state, batches, controls)

    def _key(self) -> jax.Array:
        return jax.random.key(self._seed)

    def _create_state(self, key: jax.Array, begins: bool = True) -> TrainState:
        steps = self.steps
        begin = partial(steps.family.begin, steps.generator.options)
        loss_state = steps.family.init_loss_state(steps.options.loss)
        number = 0
        if steps.family.RESTARTS:
            number = self.schedule.resolutions.index(self.resolution)
        state = create_state(
            key,
            steps.generator,
            steps.discriminator,
            steps.tx.g,
            loss_state,
            begin if begins else lambda born: born,
            number,
        )
        if self._sums is None:
            # The names alone are kept: they take a trace of both losses.
            self._sums = tuple(steps.zero_sums(state, self._batch_size))
        return state.replace(sums={name: jnp.zeros([]) for name in self._sums})

    def _grow_state(self, state: TrainState, key: jax.Array) -> TrainState:
        steps = self.steps
        return grow(
            state,
            key,
            steps.generator,
            steps.discriminator,
            steps.tx.g,
            reset=self._config.optim.reset_at_fades,
        )


def make_optimizers(config: ml_collections.ConfigDict) -> Optimizers:
    """Returns Adam for G and for D."""
    optim = config.optim
    betas = optim.beta2, optim.d_beta2 or optim.beta2
    g, d = (scale_by_authors_adam(optim.beta1, b, optim.epsilon) for b in betas)
    return Optimizers(g, d)


def _abstract(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )


def _abstract_controls(capacity: int, sharding: jax.sharding.Sharding) -> Controls:
    rows: Any = jax.ShapeDtypeStruct((capacity,), np.float32, sharding=sharding)
    num_pairs: Any = jax.ShapeDtypeStruct((), np.int32, sharding=sharding)
    return Controls(num_pairs, rows, rows, rows, rows)


def _log_probs(counts: Sequence[int]) -> tuple[float, ...]:
    """Returns the logarithms of the classes' frequencies; -inf for an empty class."""
    if not counts:
        return ()
    shares = np.asarray(counts, np.float64) / sum(counts)
    with np.errstate(divide="ignore"):
        return tuple(np.log(shares).tolist())


def warn_of_small_groups(config: ml_collections.ConfigDict, num_devices: int) -> None:
    """Warns where devices make groups of a statistic smaller, or they are too small."""
    options = model_options(config)
    one, these = stddev_groups(config, 1), stddev_groups(config, num_devices)
    if small := [f"{these[r]} at {r}x{r}" for r in one if these[r] < one[r]]:
        warn(
            f"on {num_devices} devices the groups of the minibatch statistic are "
            f"smaller than config.model.{options.group_field} = "
            f"{options.stddev_group}: {', '.join(small)}; "
            f"{most_devices(config, num_devices)} device(s) keep them complete"
        )
    advised = options.advised_group
    if rough := [f"{n} at {r}x{r}" for r, n in these.items() if n < advised]:
        warn(
            f"config.model.{options.group_field} = {options.stddev_group}: groups of "
            f"fewer than {advised} images share statistics ({', '.join(rough)}), and "
            "training may collapse; raise it, and with it config.schedule.batch_size "
            "and microbatch where they are smaller"
        )


def compiles_ahead(
    config: ml_collections.ConfigDict, platform: str, num_processes: int
) -> bool:
    """Returns whether a run compiles ahead, by `config.runtime.compile_ahead`.

    "auto" does so on accelerators only, because on CPUs the compiler and the steps
    would compete for the cores, and in a single process only: several processes on GPUs
    wait for each other's autotuning while they compile, and one of them that stops or
    grows would block the others.
    """
    choice = config.runtime.compile_ahead
    auto = platform != "cpu" and num_processes == 1
    return auto if choice == "auto" else choice == "on"


class NextProgram:
    """Makes the programs of later stages, and may compile the next one ahead."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        mesh: jax.sharding.Mesh,
        pyramid: Pyramid,
        make: Callable[[int], StageProgram],
    ) -> None:
        """Compiles nothing yet.

        Args:
          config: Configuration of the run.
          mesh: Mesh over all processes.
          pyramid: The image set.
          make: Returns the program of a resolution.
        """
        platform = mesh.devices.flat[0].platform
        self._ahead = compiles_ahead(config, platform, jax.process_count())
        self._pyramid, self._make = pyramid, make
        self._next: StageProgram | None = None

    def start(self, schedule: Schedule, nimg: int) -> None:
        """Starts to compile the stage after the one that trains image `nimg`."""
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
