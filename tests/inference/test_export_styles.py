"""Exported StyleGANs, against numbers of the authors' program."""

import numpy as np
import pytest
from jax import export

from progan_jax.errors import UserError
from progan_jax.inference.export import export_mapping, export_synthesis
from tests.explored import make_generator
from tests.styled import styled
from tests.stylegan_golden import (
    assert_close_to_largest,
    channels_last,
    classes,
    golden,
)

__all__ = ["make_generator"]


def load(program):
    return export.deserialize(bytearray(program))


def types(program):
    return [str(aval) for aval in (*program.in_avals, *program.out_avals)]


def test_mapping_takes_latents_classes_and_psi_and_gives_truncated_w():
    mapping = load(export_mapping(styled("fused")))
    assert types(mapping) == [
        *("float32[n,16]", "int32[n]", "float32[]", "float32[n,6,16]")
    ]
    z, labels = golden()["fused/z"], classes("fused")
    expected = golden()["fused/truncated/dlatents"]
    assert_close_to_largest(mapping.call(z, labels, np.float32(0.7)), expected)
    w = mapping.call(z[:3], labels[:3], np.float32(1))
    expected = golden()["fused/dlatents"][:3, None].repeat(6, axis=1)
    assert_close_to_largest(w, expected)


def test_mapping_without_classes_takes_latents_and_psi():
    mapping = load(export_mapping(styled("plain")))
    assert types(mapping) == ["float32[n,16]", "float32[]", "float32[n,8,16]"]


def test_synthesis_makes_the_authors_images_of_fixed_noise():
    synthesis = load(export_synthesis(styled("fused"), "fixed"))
    assert types(synthesis) == ["float32[n,6,16]", "float32[n,16,16,3]"]
    images = synthesis.call(golden()["fused/truncated/dlatents"][:2])
    theirs = channels_last(golden()["fused/truncated/G_out/lod0.00"])
    assert_close_to_largest(images, theirs)


def test_synthesis_with_random_noise_takes_its_seed():
    synthesis = load(export_synthesis(styled("fused")))
    assert types(synthesis)[:2] == ["float32[n,6,16]", "uint32[]"]
    w = golden()["fused/truncated/dlatents"][:2]
    images = synthesis.call(w, np.uint32(5))
    np.testing.assert_allclose(images, styled("fused").synthesis(w, seed=5), atol=1e-5)


def test_other_generators_and_kinds_of_noise_are_refused(make_generator):
    for program in (export_mapping, export_synthesis):
        with pytest.raises(UserError, match="is for style-based generators"):
            program(make_generator())
    with pytest.raises(UserError, match="noise=loud must be one of random, fixed, no"):
        export_synthesis(styled("fused"), "loud")
