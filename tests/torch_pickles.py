"""Writes pickles in the form of StyleGAN-XL's program, without it and without PyTorch.

The structure is that of files which the program's own classes wrote: with PyTorch 2.13,
Python 3.11 and dill 0.4 ("new"), and with the PyTorch, Python and dill of 2022 ("old").
"""

import io
import pickle
import struct

import numpy as np

from tests.pickles import Writer
from tests.stylegan_xl_golden import G_OPTIONS, below, golden

SOURCE = "raise SystemExit('this source was run')"

_STORAGES = {
    "f4": "FloatStorage",
    "f2": "HalfStorage",
    "i8": "LongStorage",
    "b1": "BoolStorage",
}


class Named:
    """A name in the file."""

    def __init__(self, name):
        self.name = name


class Call:
    """A call in the file."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Object:
    """An object of a class in the file, with a state, or with items."""

    def __init__(self, name, state=None, items=()):
        self.name, self.state, self.items = name, state, items


class Again:
    """A value that is given another state."""

    def __init__(self, value, state):
        self.value, self.state = value, state


class Storage:
    """A storage within the file that torch.save writes."""

    def __init__(self, array, kind=None, count=None):
        kind = kind or _STORAGES[array.dtype.str[1:]]
        count = array.size if count is None else count
        self.pid = "storage", Named(f"torch.{kind}"), "1", "cuda:0", count, None


class TorchWriter(Writer):
    """Writes the classes above as what they stand for."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    def save_named(self, obj):
        module, _, name = obj.name.rpartition(".")
        if self.proto < 4:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        else:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    def save_call(self, obj):
        self.save(obj.function)
        self.save(obj.arguments)
        self.write(pickle.REDUCE)
        self.memoize(obj)

    def save_object(self, obj):
        self.save(Named(obj.name))
        self.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
        self.memoize(obj)
        self._batch_setitems(iter(dict(obj.items).items()))
        if obj.state is not None:
            self.save(obj.state)
            self.write(pickle.BUILD)

    def save_again(self, obj):
        self.save(obj.value)
        self.save(obj.state)
        self.write(pickle.BUILD)

    dispatch = Writer.dispatch | {
        Again: save_again,
        Named: save_named,
        Call: save_call,
        Object: save_object,
    }


def dumps(value, protocol=4, old=True):
    file = io.BytesIO()
    TorchWriter(file, protocol, old).dump(value)
    return file.getvalue()


def call(name, *arguments):
    return Call(Named(name), *arguments)


def storage_bytes(array, **faults):
    """Returns what torch.save writes for a storage, which is in a pickle as bytes."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    values = (0x1950A86A20F9469CFC6C, 1001, machine, Storage(array, **faults), ["1"])
    head = b"".join(dumps(value, 2) for value in values)
    return head + struct.pack("<q", array.size) + array.tobytes()


def tensor(array, data=None, shape=None, offset=0, strides=None):
    """Returns a tensor; what is given besides the array replaces what is true."""
    shape = array.shape if shape is None else shape
    if strides is None:
        strides = tuple(s // array.itemsize for s in array.strides)
    data = storage_bytes(array) if data is None else data
    storage = call("torch.storage._load_from_bytes", data)
    hooks = call("collections.OrderedDict")
    function = "torch._utils._rebuild_tensor_v2"
    return call(function, storage, offset, shape, strides, False, hooks)


def parameter(array, **faults):
    hooks = call("collections.OrderedDict")
    made = tensor(array, **faults)
    return call("torch._utils._rebuild_parameter", made, True, hooks)


def empty_set(old):
    """Returns an empty set, which dill wrote as a call in protocol 3."""
    return Call(call("dill._dill._load_type", "set"), []) if old else set()


def numpy_array(array, old):
    """Returns an array of NumPy's as pickle writes it, or as dill does."""
    if old:
        return array
    function, arguments, state = array.__reduce__()
    return call("dill._dill._create_array", function, arguments, state, None)


def module_state(parameters, buffers, modules, old, **settings):
    """Returns the state of a module, with the dictionaries that PyTorch gives it."""

    def ordered():
        return call("collections.OrderedDict")

    hooks = ("_backward_hooks", "_forward_hooks", "_forward_pre_hooks")
    return {
        "training": True,
        "_parameters": parameters,
        "_buffers": buffers,
        "_non_persistent_buffers_set": empty_set(old),
        **{name: ordered() for name in hooks},
        "_modules": modules,
        **settings,
    }


def persistent(kind, state, source=SOURCE):
    """Returns a module of a class whose source is in the file."""
    meta = {"type": "class", "version": 6, "module_src": source}
    meta |= {"class_name": kind, "state": state}
    return call("torch_utils.persistence._reconstruct_persistent_obj", meta)


_BUFFERS = ("w_avg", "magnitude_ema", "freqs", "phases", "transform")

_CLASSES = {
    "": "Generator",
    "mapping": "MappingNetwork",
    "synthesis": "SynthesisNetwork",
    "input": "SynthesisInput",
}


def modules(arrays, settings, old=True, prefix=""):
    """Returns a module with those within it.

    Args:
      arrays: Of the outer one, by name.
      settings: Maps the name of a module to its settings.
      old: Which spelling.
      prefix: Name of the module, with a dot unless it is the outer one.
    """
    own = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    leaves = {name: array for name, array in own.items() if "." not in name}
    buffers = {n for n in leaves if n in _BUFFERS or n.endswith("_filter")}
    names = dict.fromkeys(name.split(".")[0] for name in own if "." in name)
    name = prefix[:-1]
    state = module_state(
        {n: parameter(a) for n, a in leaves.items() if n not in buffers},
        {n: tensor(a) for n, a in leaves.items() if n in buffers},
        {n: modules(arrays, settings, old, f"{prefix}{n}.") for n in names},
        old,
        **settings(name),
    )
    last = name.rpartition(".")[2]
    if last == "embed":
        return Object("torch.nn.modules.sparse.Embedding", state)
    layer = "SynthesisLayer" if last.startswith("L") else "FullyConnectedLayer"
    if not name and "up_factor" in state:
        return persistent("SuperresGenerator", state)
    return persistent(_CLASSES.get(last, layer), state)


def generator_arrays(case):
    """Returns all variables of a golden generator, as the file has them."""
    arrays = below(f"{case}/G")
    if case == "superres":
        arrays = below("stem/G") | arrays
    layers = {"input", *golden()[f"{case}/layer_names"]}
    kept = {
        name: array
        for name, array in arrays.items()
        if name.startswith("mapping") or name.split(".")[1] in layers
    }
    return kept | {
        "mapping.embed.weight": golden()["class_embedding"],
        "synthesis.input.transform": np.eye(3, dtype=np.float32),
    }


def generator_settings(case, old=True):
    """Returns the settings of a golden generator's modules, given their names."""
    of = G_OPTIONS[case]
    layers = layer_settings(case, old)
    stem = {
        **{"z_dim": of.latent_size, "c_dim": of.num_classes, "w_dim": of.w_size},
        **{"img_resolution": of.resolution, "img_channels": 3},
    }
    head = {"path_stem": "stem.pkl", "head_layers": 4, "up_factor": 2}
    given = {"img_resolution": 32, **head} if case == "superres" else stem
    rotates = of.equivariance == "rotation"
    known = {
        "": (given | stem | {"_init_args": (), "_init_kwargs": easy(given)}),
        "mapping": {
            **{"z_dim": of.latent_size, "c_dim": of.num_classes, "w_dim": of.w_size},
            **{"num_layers": 2, "w_avg_beta": 0.998},
            **({} if of.num_classes else {"embed_proj": None}),
        },
        "mapping.embed": {"num_embeddings": 8, "embedding_dim": 24},
        "synthesis": {
            "layer_names": list(layers),
            "img_channels": 3,
            "channel_base": of.fmap_base,
            "channel_max": of.fmap_max,
            "output_scale": 0.25,
            "conv_kernel": 1 if rotates else 3,
            "use_radial_filters": rotates,
        },
        **{f"synthesis.{name}": settings for name, settings in layers.items()},
    }
    for name in ("mapping.fc0", "mapping.fc1"):
        known[name] = {"activation": "lrelu", "bias_gain": 0.01}
    return lambda name: known.get(name, {"bias_gain": 1})


def layer_settings(case, old):
    """Returns the settings of a golden generator's layers, by their names."""
    columns = [str(column) for column in golden()[f"{case}/design_columns"]]
    names = [str(name) for name in golden()[f"{case}/layer_names"]]
    found = {}
    for name, numbers in zip(names, golden()[f"{case}/design"], strict=True):
        of = dict(zip(columns, numbers, strict=True))
        sides = {
            f"{side}_size": numpy_array(np.full(2, int(of[f"{side}_size"])), old)
            for side in ("in", "out")
        }
        found[name] = {
            **{key: int(of[key]) for key in ("in_channels", "out_channels")},
            **{
                f"{side}_sampling_rate": int(of[f"{side}_rate"])
                for side in ("in", "out")
            },
            **{
                key: of[key]
                for key in columns
                if key.endswith(("cutoff", "half_width"))
            },
            **sides,
            "use_fp16": np.bool_(of["use_fp16"]),
            "conv_clamp": 256,
        }
    return found


def easy(items):
    return Object("dnnlib.util.EasyDict", items=items.items())


def golden_generator(case, old=True, changed=(), **settings):
    """Returns a golden generator.

    Args:
      case: "stem", "uncond", "radial" or "superres".
      old: Which spelling.
      changed: Arrays in the place of others, by name; None leaves one out.
      settings: Settings in the place of others, by a module's name with "__" for ".".
    """
    arrays = generator_arrays(case) | dict(changed)
    arrays = {name: array for name, array in arrays.items() if array is not None}
    usual = generator_settings(case, old)
    new = {name.replace("__", "."): of for name, of in settings.items()}
    return modules(arrays, lambda name: usual(name) | new.get(name, {}), old)


def discriminator(old=True):
    """Returns parts of a D: objects of other packages, and a hook that dill wrote."""
    dill = "dill._dill._create_"
    code = call(f"{dill}code", b"\x04\x01", 3, 0, "hook", "vit.py", ())
    cell = call(f"{dill}cell", None)
    hook = call(f"{dill}function", code, Named("feature_networks.vit.__dict__"), cell)
    setter = call(
        "builtins.getattr", Named("dill._dill"), "_setattr", Named("builtins.setattr")
    )
    block = Object("timm.models.efficientnet_blocks.InvertedResidual", {"x": 1})
    model = Object(
        "timm.models.vision_transformer.VisionTransformer",
        module_state(
            {"cls_token": parameter(np.ones((1, 1, 4), np.float32))},
            {"num_batches_tracked": tensor(np.array(3, np.int64))},
            {"block": block},
            old,
            _forward_hooks={7: hook},
            set=Call(setter, cell, "cell_contents", "1"),
            bound=Call(call("dill._dill._load_type", "MethodType"), hook, block),
            size=call("torch.Size", (2, 3)),
        ),
    )
    backbones = Object("torch.nn.modules.container.ModuleDict", {"deit": model})
    return Object(
        "pg_modules.discriminator.ProjectedDiscriminator", {"_modules": backbones}
    )


def checkpoint(case, old=True, **parts):
    """Returns the content of a golden generator's file.

    All biases of G are those of G_ema plus one. `parts` replaces some of it.
    """
    more = {
        name: array + 1
        for name, array in generator_arrays(case).items()
        if name.endswith("bias")
    }
    return {
        "G": golden_generator(case, old, more),
        "D": discriminator(old),
        "G_ema": golden_generator(case, old),
        "augment_pipe": None,
        "training_set_kwargs": {"path": "imagenet.zip", "xflip": True},
        "progress": {"cur_nimg": tensor(np.array([5])), "best_fid": 9999},
        **parts,
    }
