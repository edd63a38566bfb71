"""What the page shows of a StyleGAN, against its Python interface."""

import numpy as np
import pytest

from progan_jax.display.answers import Answers, Explorer
from progan_jax.display.style_explorer import StyleExplorer, make_explorer
from progan_jax.errors import UserError
from progan_jax.inference.generator import to_uint8
from progan_jax.inference.sampling import seeded_latents
from progan_jax.inference.styles import Style
from tests.styled import styled

STYLE = Style(0.5, 3, "random")


@pytest.fixture
def explorer():
    return StyleExplorer(styled("fused"))


def close(images, others):
    assert images.dtype == np.uint8
    np.testing.assert_allclose(images.astype(int), others.astype(int), atol=1)


def sampled(seed, label=2, style=STYLE):
    return to_uint8(styled("fused").sample(1, seed, label, **style._asdict()))


def test_only_a_stylegan_gets_the_explorer_of_styles(make_generator):
    assert isinstance(make_explorer(styled("fused")), StyleExplorer)
    other = make_explorer(make_generator())
    assert type(other) is Explorer
    with pytest.raises(UserError, match="mix is for style-based generators"):
        other.mixed((0, 1), [0], None)


def test_a_way_goes_along_the_line_between_two_w(explorer):
    images = explorer.between((3, 4), [0.0, 0.25, 1.0], 2, STYLE)
    close(images[:1], sampled(3))
    g = styled("fused")
    latents = [seeded_latents(seed, 1, 16) for seed in (3, 4)]
    a, b = (g.mapping(z, 2) for z in latents)
    expected = g.synthesis(g.truncate(0.75 * a + 0.25 * b, 0.5, 3), seed=3)
    close(images[1:2], to_uint8(expected))
    # Noise is that of the first seed, and of no image's place on the way.
    close(explorer.between((3, 4), [1.0], 2, STYLE), images[2:])
    fixed = Style(0.5, 3, "fixed")
    close(explorer.between((3, 4), [1.0], 2, fixed), sampled(4, style=fixed))


def test_an_edit_adds_standard_deviations_of_w_to_w(explorer):
    zeros = np.zeros(8)
    close(explorer.edited(5, zeros, 2, STYLE), sampled(5))
    amounts = np.array([2.0, -1, 0, 0, 0, 0, 0, 0])
    g = styled("fused")
    w = g.mapping(seeded_latents(5, 1, 16), 2)
    first, second = explorer.directions.vectors[:2]
    expected = g.synthesis(g.truncate(w + 2 * first - second, 0.5, 3), seed=5)
    close(explorer.edited(5, amounts, 2, STYLE), to_uint8(expected))


def test_a_mix_shows_both_images_and_the_mixed_one_between(explorer):
    fixed = Style(0.5, 3, "fixed")
    images = explorer.mixed((3, 4), [0, 5], 2, fixed)
    close(images[:1], sampled(3, style=fixed))
    close(images[2:], sampled(4, style=fixed))
    z = [seeded_latents(seed, 1, 16) for seed in (3, 4)]
    mixed = styled("fused").mix(*z, [0, 5], 2, **fixed._asdict())
    close(images[1:2], to_uint8(mixed))
    nothing = explorer.mixed((3, 4), [], 2, STYLE)
    np.testing.assert_array_equal(nothing[0], nothing[1])


def test_answers_name_the_settings_and_the_layers(explorer):
    answers = Answers(explorer)
    settings = "class 2, psi 0.5 on 3 layers, random noise"
    sample = answers.sample(7, 2, 4, style=STYLE)
    assert f'alt="4 images of seed 7, {settings}"' in sample
    assert f"50% of the way from seed 3 to seed 4, {settings}" in answers.between(
        3, 4, 2, 0.5, style=STYLE
    )
    mixed = answers.mix(3, 4, 2, [1, 0, 4], style=STYLE)
    expected = "Seed 3, seed 3 with layers 0-1, 4 of seed 4, seed 4"
    assert f'alt="{expected}, {settings}"' in mixed
    assert 'download="it_seed3-4_mixed.png"' in mixed
    assert "with no layers of seed 4" in answers.mix(3, 4, 2, [], style=STYLE)
    with pytest.raises(UserError, match="Seed B is empty"):
        answers.mix(3, None, 2, [0], style=STYLE)
