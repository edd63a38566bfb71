"""Times other programs' training steps; `benchmarks.train_step` starts it.

The programs are checkouts that the user names; nothing of them is here. Each is asked
for the same widths, batch, loss (WGAN-GP) and alternating steps as ours, with what
favours it: TF32, cuDNN's tuning and (rosinality; gan_zoo's D takes views that need
its own layout) channels last on GPUs, and no fade between two resolutions, which costs
ours two more small layers.

    gan_zoo     github.com/facebookresearch/pytorch_GAN_zoo: its `optimizeParameters`
    rosinality  github.com/rosinality/progressive-gan-pytorch: its networks in the steps
                of its train.py, which cannot be imported

    style_based_gan  github.com/rosinality/style-based-gan-pytorch: its networks, which
                have the paper's widths, in the steps of its train.py with R1 and mixing

Another program is one more function here under `@peer`: it takes the request (widths
from 4x4 up, latent_size, channels, batch, dtype, and path, which is on sys.path) and
returns a function of real images, [batch, channels, side, side] in [-1, 1], that trains
D and G once.

Reads a request as JSON from the standard input and prints the answer as JSON. Needs
PyTorch and nothing of ours: it may run under another Python.
"""

import contextlib
import json
import os
import random
import sys
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import softplus

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
_Pair = Callable[[torch.Tensor], None]
# Of feature maps from 4x4 to 1024x1024.
_PAPER_WIDTHS = [512, 512, 512, 512, 256, 128, 64, 32, 16]
PEERS: dict[str, Callable[[dict[str, Any]], _Pair]] = {}


def peer(build: Callable[[dict[str, Any]], _Pair]) -> Callable[..., _Pair]:
    """Adds a program, by the name of the function that builds its pair."""
    PEERS[build.__name__] = build
    return build


@peer
def gan_zoo(request: dict[str, Any]) -> _Pair:
    """Returns a (D, G) pair of pytorch_GAN_zoo as a function of real images."""
    gan = gan_zoo_at_4x4(request)
    for width in request["widths"][1:]:
        gan.addScale(width)
    return lambda reals: gan.optimizeParameters(reals)


def gan_zoo_at_4x4(request: dict[str, Any]) -> Any:
    """Returns pytorch_GAN_zoo's model, which `addScale` grows."""
    from models.progressive_gan import ProgressiveGAN

    def adam(network: torch.nn.Module) -> torch.optim.Optimizer:
        # Its own call has an integer beta, which newer PyTorch refuses.
        return torch.optim.Adam(network.parameters(), lr=0.001, betas=(0.0, 0.99))

    class Gan(ProgressiveGAN):
        def getOptimizerD(self) -> torch.optim.Optimizer:
            return adam(self.netD)

        def getOptimizerG(self) -> torch.optim.Optimizer:
            return adam(self.netG)

    return Gan(
        dimLatentVector=request["latent_size"],
        depthScale0=request["widths"][0],
        miniBatchStdDev=True,
        lossMode="WGANGP",
        lambdaGP=10.0,
        epsilonD=0.001,
        dimOutput=request["channels"],
        useGPU=True,
    )


@peer
def rosinality(request: dict[str, Any]) -> _Pair:
    """Returns a pair of progressive-gan-pytorch as a function of real images."""
    g, d, average = (_rosinality_network(request, kind) for kind in ("G", "D", "G"))
    g_adam, d_adam = (
        torch.optim.Adam(network.parameters(), lr=0.001, betas=(0.0, 0.99))
        for network in (g, d)
    )
    step = len(request["widths"]) - 1
    latent_size = request["latent_size"] - 1

    def draw(n: int) -> torch.Tensor:
        labels = torch.zeros(n, dtype=torch.long, device=DEVICE)
        return g(torch.randn(n, latent_size, device=DEVICE), labels, step, -1)

    def update_d(reals: torch.Tensor) -> None:
        _freeze(g, d)
        d_adam.zero_grad()
        scores = d(reals, step, -1)[0]
        (0.001 * scores.square().mean() - scores.mean()).backward()
        fakes = draw(len(reals))
        d(fakes, step, -1)[0].mean().backward()
        share = torch.rand(len(reals), 1, 1, 1, device=DEVICE)
        mixed = (share * reals + (1 - share) * fakes.detach()).requires_grad_()
        (slope,) = torch.autograd.grad(
            d(mixed, step, -1)[0].sum(), mixed, create_graph=True
        )
        norms = slope.flatten(1).norm(dim=1)
        (10 * (norms - 1).square().mean()).backward()
        d_adam.step()

    def update_g(reals: torch.Tensor) -> None:
        _freeze(d, g)
        g_adam.zero_grad()
        (-d(draw(len(reals)), step, -1)[0].mean()).backward()
        g_adam.step()
        with torch.no_grad():
            for mean, value in zip(average.parameters(), g.parameters(), strict=True):
                mean.mul_(0.999).add_(value, alpha=0.001)

    def pair(reals: torch.Tensor) -> None:
        update_d(reals)
        update_g(reals)

    return pair


def _rosinality_network(request: dict[str, Any], kind: str) -> torch.nn.Module:
    """Builds a network of its blocks with the widths and latents of the request."""
    import model

    widths, channels = request["widths"], request["channels"]
    latent_size = request["latent_size"]
    block, conv = model.ConvBlock, torch.nn.Conv2d
    if kind == "G":
        network = model.Generator(latent_size - 1, 1)
        sizes = zip([latent_size, *widths], widths, strict=False)
        network.progression = torch.nn.ModuleList(
            block(a, b, 3, 1) if i else block(a, b, 4, 3, 3, 1)
            for i, (a, b) in enumerate(sizes)
        )
        network.to_rgb = torch.nn.ModuleList(conv(w, channels, 1) for w in widths)
    else:
        network = model.Discriminator(1)
        down = widths[::-1]
        network.progression = torch.nn.ModuleList(
            [block(a, b, 3, 1, pixel_norm=False) for a, b in pairwise(down)]
            + [block(widths[0] + 1, widths[0], 3, 1, 4, 0, pixel_norm=False)]
        )
        network.from_rgb = torch.nn.ModuleList(conv(channels, w, 1) for w in down)
        network.n_layer = len(widths)
        network.linear = torch.nn.Linear(widths[0], 2)
    layout = torch.channels_last if DEVICE == "cuda" else torch.contiguous_format
    return network.to(DEVICE, memory_format=layout)


@peer
def style_based_gan(request: dict[str, Any]) -> _Pair:
    """Returns a pair of style-based-gan-pytorch as a function of real images."""
    import model

    # Its widths cannot be chosen. Its discriminator holds all of them.
    if request["widths"] != _PAPER_WIDTHS[: len(request["widths"])]:
        raise ValueError(f"its widths are {_PAPER_WIDTHS}, the paper's")
    size, step = request["latent_size"], len(request["widths"]) - 1
    g, average = (model.StyledGenerator(size).to(DEVICE) for _ in range(2))
    d = model.Discriminator(from_rgb_activate=True).to(DEVICE)
    groups = [
        {"params": g.generator.parameters()},
        {"params": g.style.parameters(), "lr": 0.001 * 0.01},
    ]
    g_adam, d_adam = (
        torch.optim.Adam(parameters, lr=0.001, betas=(0.0, 0.99))
        for parameters in (groups, d.parameters())
    )

    def draw(n: int) -> torch.Tensor:
        count = 2 if random.random() < 0.9 else 1
        codes = [torch.randn(n, size, device=DEVICE) for _ in range(count)]
        return g(codes, step=step, alpha=1)

    def update_d(reals: torch.Tensor) -> None:
        _freeze(g, d)
        d_adam.zero_grad()
        reals = reals.clone().requires_grad_()
        scores = d(reals, step, 1)
        softplus(-scores).mean().backward(retain_graph=True)
        (slope,) = torch.autograd.grad(scores.sum(), reals, create_graph=True)
        (5 * slope.flatten(1).square().sum(1).mean()).backward()
        softplus(d(draw(len(reals)), step, 1)).mean().backward()
        d_adam.step()

    def update_g(reals: torch.Tensor) -> None:
        _freeze(d, g)
        g_adam.zero_grad()
        softplus(-d(draw(len(reals)), step, 1)).mean().backward()
        g_adam.step()
        with torch.no_grad():
            for mean, value in zip(average.parameters(), g.parameters(), strict=True):
                mean.mul_(0.999).add_(value, alpha=0.001)

    def pair(reals: torch.Tensor) -> None:
        update_d(reals)
        update_g(reals)

    return pair


def _freeze(frozen: torch.nn.Module, trained: torch.nn.Module) -> None:
    frozen.requires_grad_(False)
    trained.requires_grad_(True)


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Returns the ms of a pair, and its images."""
    favour()
    pair = PEERS[request["peer"]](request)
    side, n = 4 * 2 ** (len(request["widths"]) - 1), request["batch"]
    reals = torch.rand(n, request["channels"], side, side, device=DEVICE) * 2 - 1
    with _autocast(request["dtype"]):
        for _ in range(2):
            pair(reals)
        seconds = seconds_of(lambda: pair(reals), request["seconds"])
    return {"ms": 1000 * seconds, "images": n, "torch": torch.__version__}


def _autocast(dtype: str) -> contextlib.AbstractContextManager[Any]:
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(DEVICE, dtype=getattr(torch, dtype))


def favour() -> None:
    """Lets PyTorch take TF32 and tune cuDNN, which is faster on GPUs."""
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True


def seconds_of(run: Callable[[], Any], seconds: float) -> float:
    """Returns the mean time of a call, from calls of so many seconds."""
    _wait()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        run()
        count += 1
        if DEVICE == "cpu" or count % 8 == 0:
            _wait()
    _wait()
    return (time.perf_counter() - started) / count


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Answers one request; one of 0 seconds only checks that the peer is there."""
    warnings.simplefilter("ignore")
    request = json.load(sys.stdin)
    sys.path.insert(0, request["path"])
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        if request["seconds"]:
            answer = measure(request)
        else:
            PEERS[request["peer"]](request)
            answer = {}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
