"""Networks of style-based-gan-pytorch with the widths of a request."""

from tests.benchmarks.in_pytorch import STYLE_BASED_GAN, answer, needs_style_based_gan

pytestmark = needs_style_based_gan

OF_THE_PAPER = """
import json, model, peers
request = {"widths": [512] * 4 + [256, 128, 64, 32, 16], "latent_size": 512}
request["channels"] = 3
pairs = [
    (peers._styled_generator(request), model.StyledGenerator(512)),
    (peers._style_discriminator(request), model.Discriminator(from_rgb_activate=True)),
]
def shapes(network):
    return {k: list(v.shape) for k, v in network.state_dict().items()}
print(json.dumps({
    "layers": [[repr(network) for network in pair] for pair in pairs],
    "shapes": [[shapes(network) for network in pair] for pair in pairs],
    "n_layer": [network.n_layer for network in pairs[1]],
}))
"""
NARROW = """
import json, peers, torch
def parameters(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])
def trained(scale):
    request = {"widths": [8, 6, 4][:scale + 1], "latent_size": 5, "channels": 1}
    gan = peers.StyleBasedGan(request, scale)
    start = parameters(gan.g)
    same = bool(torch.equal(start, parameters(gan.average)))
    for _ in range(4):  # With one code and with two.
        before = parameters(gan.average)
        gan.step(torch.rand(4, 1, 4 << scale, 4 << scale))
    average = 0.999 * before + 0.001 * parameters(gan.g)
    gan.alpha = 0.5
    return {
        "same": same,
        "moved": float((parameters(gan.g) - start).abs().max()),
        "error": float((average - parameters(gan.average)).abs().max()),
        "shape": list(gan.sample(gan.average, 1, 3).shape),
    }
print(json.dumps([trained(scale) for scale in range(3)]))
"""


def test_networks_of_the_papers_widths_are_the_programs_own():
    found = answer(OF_THE_PAPER, STYLE_BASED_GAN)
    for own, theirs in found["layers"] + found["shapes"] + [found["n_layer"]]:
        assert own == theirs


def test_narrow_networks_train_and_their_average_follows():
    for scale, found in enumerate(answer(NARROW, STYLE_BASED_GAN)):
        assert found["same"]
        assert found["moved"] > 1e-4
        assert found["error"] < 1e-6
        assert found["shape"] == [3, 1, 4 << scale, 4 << scale]
