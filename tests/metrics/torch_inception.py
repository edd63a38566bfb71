"""Names of torchvision's Inception v3, in the order of its definition."""

import numpy as np

from progan_jax.metrics.inception_graph import convolution_names, parameter_shapes

# models/inception.py: Inception3, then InceptionA to InceptionE.
STEM = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1"]
STEM += ["Conv2d_4a_3x3"]
A = "1x1 5x5_1 5x5_2 3x3dbl_1 3x3dbl_2 3x3dbl_3 _pool"
B = "3x3 3x3dbl_1 3x3dbl_2 3x3dbl_3"
C = "1x1 7x7_1 7x7_2 7x7_3 7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5 _pool"
D = "3x3_1 3x3_2 7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4"
E = "1x1 3x3_1 3x3_2a 3x3_2b 3x3dbl_1 3x3dbl_2 3x3dbl_3a 3x3dbl_3b _pool"
BLOCKS = {"5b": A, "5c": A, "5d": A, "6a": B, "6b": C, "6c": C, "6d": C, "6e": C}
BLOCKS |= {"7a": D, "7b": E, "7c": E}
NAMES = STEM + [
    f"Mixed_{block}.branch{branch}"
    for block, branches in BLOCKS.items()
    for branch in branches.split()
]


def kernel_shapes():
    """Yields the name of each convolution there and the shape of its kernel, OIHW."""
    shapes = parameter_shapes("logits")
    for ours, theirs in zip(convolution_names(), NAMES, strict=True):
        height, width, inputs, outputs = shapes[f"{ours}/kernel"]
        yield theirs, (outputs, inputs, height, width)


def random_state(seed=0):
    """A state dictionary under which all layers have values of about 1."""
    random = np.random.default_rng(seed)
    state = {
        "fc.weight": random.normal(size=(1008, 2048)) / np.sqrt(2048),
        "fc.bias": random.normal(size=1008),
    }
    for name, shape in kernel_shapes():
        kernel = random.standard_normal(shape, np.float32)
        state |= {
            f"{name}.conv.weight": kernel * np.sqrt(2 / np.prod(shape[1:])),
            f"{name}.bn.weight": random.uniform(0.8, 1.2, shape[0]),
            f"{name}.bn.bias": random.normal(scale=0.1, size=shape[0]),
            f"{name}.bn.running_mean": random.normal(scale=0.1, size=shape[0]),
            f"{name}.bn.running_var": random.uniform(0.7, 1.3, shape[0]),
        }
    state = {k: v.astype(np.float32) for k, v in state.items()}
    counts = {f"{n}.bn.num_batches_tracked": np.array(3) for n, _ in kernel_shapes()}
    return state | counts
