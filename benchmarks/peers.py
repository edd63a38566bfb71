"""Times other programs' training steps; `benchmarks.train_step` starts it.

The programs are checkouts that the user names; nothing of them is here. Each is asked
for the same widths, batch, loss (WGAN-GP) and alternating steps as ours, with what
favours it: TF32, cuDNN's tuning and (rosinality; gan_zoo's D takes views that need
its own layout) channels last on GPUs, and no fade between two resolutions, which costs
ours two more small layers.

    gan_zoo     github.com/facebookresearch/pytorch_GAN_zoo: its `optimizeParameters`
    rosinality  github.com/rosinality/progressive-gan-pytorch: its networks in the steps
                of its train.py, which cannot be imported

    style_based_gan  github.com/rosinality/style-based-gan-pytorch: its networks, in the
                steps of its train.py with R1 and mixing

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
    return StyleBasedGan(request, len(request["widths"]) - 1).step


class StyleBasedGan:
    """What style-based-gan-pytorch's train.py, which cannot be imported, trains.

    Attributes:
      g: Its StyledGenerator, with the widths, latents and channels of the request; its
        eight layers of mapping are as wide as the latents.
      average: The moving average of g, which begins with it.
      scale: Number of doublings of the resolution from 4x4; may be set.
      alpha: Weight of that scale's layers against the scale before; may be set.
    """

    def __init__(self, request: dict[str, Any], scale: int):
        self.scale, self.alpha = scale, 1.0
        self._latent_size = request["latent_size"]
        self.g, self.average = (_styled_generator(request) for _ in range(2))
        self.average.load_state_dict(self.g.state_dict())
        self._d = _style_discriminator(request)
        groups = [
            {"params": self.g.generator.parameters()},
            {"params": self.g.style.parameters(), "lr": 0.001 * 0.01},
        ]
        self._g_adam, self._d_adam = (
            torch.optim.Adam(parameters, lr=0.001, betas=(0.0, 0.99))
            for parameters in (groups, self._d.parameters())
        )

    def sample(self, network: torch.nn.Module, codes: int, number: int) -> torch.Tensor:
        """Returns images of g or of its average, by one code each or by two mixed."""
        size = (number, self._latent_size)
        given = [torch.randn(size, device=DEVICE) for _ in range(codes)]
        return network(given, step=self.scale, alpha=self.alpha)

    def step(self, reals: torch.Tensor) -> None:
        """Trains D, then G, and moves the average."""
        self._update_d(reals)
        self._update_g(len(reals))

    def _draw(self, number: int) -> torch.Tensor:
        # At 4x4 there is no layer at which a second code could begin.
        mixed = self.scale > 0 and random.random() < 0.9
        return self.sample(self.g, 2 if mixed else 1, number)

    def _score(self, images: torch.Tensor) -> torch.Tensor:
        return self._d(images, self.scale, self.alpha)

    def _update_d(self, reals: torch.Tensor) -> None:
        _freeze(self.g, self._d)
        self._d_adam.zero_grad()
        reals = reals.clone().requires_grad_()
        scores = self._score(reals)
        softplus(-scores).mean().backward(retain_graph=True)
        (slope,) = torch.autograd.grad(scores.sum(), reals, create_graph=True)
        (5 * slope.flatten(1).square().sum(1).mean()).backward()
        softplus(self._score(self._draw(len(reals)))).mean().backward()
        self._d_adam.step()

    def _update_g(self, number: int) -> None:
        _freeze(self._d, self.g)
        self._g_adam.zero_grad()
        softplus(-self._score(self._draw(number))).mean().backward()
        self._g_adam.step()
        pairs = zip(self.average.parameters(), self.g.parameters(), strict=True)
        with torch.no_grad():
            for mean, value in pairs:
                mean.mul_(0.999).add_(value, alpha=0.001)


def _styled_generator(request: dict[str, Any]) -> torch.nn.Module:
    """Builds its generator of its blocks with the request's widths and latents."""
    import model

    widths, size = request["widths"], request["latent_size"]
    block, styled = model.StyledConvBlock, model.StyledGenerator(size)
    network = styled.generator
    network.progression = torch.nn.ModuleList(
        [block(widths[0], widths[0], 3, 1, style_dim=size, initial=True)]
        + [
            block(a, b, 3, 1, style_dim=size, upsample=True, fused=_is_fused(scale))
            for scale, (a, b) in enumerate(pairwise(widths), 1)
        ]
    )
    network.to_rgb = torch.nn.ModuleList(
        model.EqualConv2d(width, request["channels"], 1) for width in widths
    )
    return styled.to(DEVICE)


def _style_discriminator(request: dict[str, Any]) -> torch.nn.Module:
    """Builds its discriminator of its blocks with the request's widths."""
    import model

    down, channels = request["widths"][::-1], request["channels"]
    network = model.Discriminator(from_rgb_activate=True)
    scales = range(len(down) - 1, 0, -1)
    network.progression = torch.nn.ModuleList(
        [
            model.ConvBlock(a, b, 3, 1, downsample=True, fused=_is_fused(scale))
            for scale, (a, b) in zip(scales, pairwise(down), strict=True)
        ]
        + [model.ConvBlock(down[-1] + 1, down[-1], 3, 1, 4, 0)]
    )
    network.from_rgb = torch.nn.ModuleList(
        torch.nn.Sequential(
            model.EqualConv2d(channels, width, 1), torch.nn.LeakyReLU(0.2)
        )
        for width in down
    )
    network.n_layer = len(down)
    network.linear = model.EqualLinear(down[-1], 1)
    return network.to(DEVICE)


def _is_fused(scale: int) -> bool:
    """Returns whether its layers resample and convolve at once: from 128x128 on."""
    return 4 << scale >= 128


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
