"""StyleGANs with the golden weights, as trained generators and as snapshots."""

from dataclasses import asdict
from functools import cache

from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.snapshot import write_snapshot
from progan_jax.models.common import to_weights
from tests.stylegan_golden import OPTIONS, variables


def weights_and_info(net, **info):
    """Of "plain", 32x32 without classes, or "fused", 16x16 of five classes."""
    options = OPTIONS[net]
    stage = {"resolution": options.resolution, "alpha": 1.0}
    info = {"family": "stylegan", "stage": stage, "options": asdict(options)} | info
    return to_weights(variables(net, "G")), info


@cache
def styled(net):
    """A generator that tests share, with its compiled programs."""
    return TrainedGenerator(*weights_and_info(net), "it")


def write_styled(folder, net, class_names=()):
    weights, info = weights_and_info(net, dataset={"class_names": list(class_names)})
    write_snapshot(folder, weights, info)
    return folder
