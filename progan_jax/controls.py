"""What tells the training steps how to run, and what varies from pair to pair."""

from dataclasses import dataclass, field

import jax
from flax import struct

from progan_jax.losses import LossOptions


class Controls(struct.PyTreeNode):
    """What the schedule says of each pair of a dispatch.

    Attributes:
      num_pairs: Pairs to run, int32, at most K.
      alpha: [K] float32.
      g_learning_rate: [K] float32.
      d_learning_rate: [K] float32.
    """

    num_pairs: jax.Array
    alpha: jax.Array
    g_learning_rate: jax.Array
    d_learning_rate: jax.Array


@dataclass(frozen=True)
class StepOptions:
    """How the steps run.

    Attributes:
      loss: Kind and weights of the losses.
      ema_decay: Share of the moving average that one update keeps.
      ema_after: "d_step" (authors' TensorFlow program: before G's own step, once per D
        step) or "g_step" (the paper's program).
      d_repeats: D steps per G step.
      simultaneous: Whether D and G step at once, on one batch of fakes.
      max_skipped: The loop stops after so many pairs in a row with a skipped update.
      fake_labels: Classes of D's fakes: those of the "reals", or "random" ones.
      requantise_fade: Whether faded reals are rounded to 8 bits (the paper's program).
      dequantise: Whether reals get noise of one byte's width (an option of it).
      microbatches: Equal parts of a batch whose gradients are taken in turns, to save
        memory; no part may cut a group of the minibatch statistic.
    """

    loss: LossOptions = field(default_factory=LossOptions)
    ema_decay: float = 0.999
    ema_after: str = "d_step"
    d_repeats: int = 1
    simultaneous: bool = False
    max_skipped: int = 100
    fake_labels: str = "reals"
    requantise_fade: bool = False
    dequantise: bool = False
    microbatches: int = 1
