"""Times the authors' generator of a StyleGAN-XL's stem; `benchmarks.stem` starts it.

The program is a checkout of github.com/autonomousvision/stylegan-xl that the user
names, under a licence of its own; nothing of it is here. Without CUDA its operators are
those in plain PyTorch that it falls back to; with CUDA it compiles its own.

Reads a request as JSON from the standard input and prints the answer as JSON. Needs
PyTorch, SciPy, dill (for a table of the checkout's, which it reads without classes,
too) and nothing of ours: it may run under another Python. Modules that only its other
parts need are left empty where they are not installed.
"""

import contextlib
import importlib
import json
import os
import sys
import types
import warnings
from typing import Any

import torch
from peers import DEVICE, favour, seconds_of

_UNUSED = ("requests", "legacy")  # For files of networks, and addresses of them.


def build(request: dict[str, Any]) -> torch.nn.Module:
    """Returns their generator, with the widths and layers of the request."""
    for name in _UNUSED:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = types.ModuleType(name)
    networks = importlib.import_module("training.networks_stylegan3_resetting")
    generator = networks.Generator(
        z_dim=request["latent_size"],
        c_dim=0,
        w_dim=request["w_size"],
        img_resolution=request["resolution"],
        img_channels=3,
        num_layers=request["layers"],
        # Its train.py has doubled --cbase and --cmax by then.
        channel_base=request["fmap_base"],
        channel_max=request["fmap_max"],
        conv_kernel=3,
        use_radial_filters=False,
        num_fp16_res=0,
    )
    return generator.to(DEVICE).train().requires_grad_(True)


def measure(generator: torch.nn.Module, request: dict[str, Any]) -> dict[str, Any]:
    """Returns the ms of a forward pass and of its gradient; see stem_ours.py."""
    z = torch.randn(request["batch"], request["latent_size"], device=DEVICE)

    def forward() -> None:
        with torch.no_grad():
            generator(z, None)

    def gradient() -> None:
        generator.zero_grad(set_to_none=True)
        generator(z, None).square().mean().backward()

    found = {}
    for name, run in (("forward_ms", forward), ("gradient_ms", gradient)):
        for _ in range(2):
            run()
        found[name] = 1000 * seconds_of(run, request["seconds"])
    return found


def main() -> None:
    """Answers one request; one of 0 seconds only counts the parameters."""
    warnings.simplefilter("ignore")
    request = json.load(sys.stdin)
    sys.path.insert(0, request["path"])
    os.chdir(request["path"])  # It opens a file of its own there.
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        favour()
        generator = build(request)
        synthesis: Any = generator.synthesis
        answer = {
            "torch": torch.__version__,
            "parameters": sum(p.numel() for p in synthesis.parameters()),
        }
        if request["seconds"]:
            answer |= measure(generator, request)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
