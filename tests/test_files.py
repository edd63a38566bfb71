"""A changed record is distinguished from a sealed one, in any layout."""

import json
import os

import pytest

from progan_jax.errors import UserError
from progan_jax.files import check_utf_8, is_intact, local_folder, seal, write_whole

RECORD = {"nimg": 513, "alpha": 0.1, "names": ("a", "b"), "sizes": {4: 1}, "x": None}


def test_sealed_record_is_intact_after_json_in_any_layout():
    sealed = seal(RECORD)
    assert is_intact(sealed)
    assert is_intact(json.loads(json.dumps(sealed, indent=4)))
    assert is_intact(dict(reversed(json.loads(json.dumps(sealed)).items())))


def test_sealing_twice_changes_nothing():
    assert seal(seal(RECORD)) == seal(RECORD)


def test_record_without_checksum_is_taken_as_it_is():
    assert is_intact(RECORD)


@pytest.mark.parametrize(
    "change", [{"nimg": 512}, {"alpha": 0.10000000000000002}, {"y": 1}, {"checksum": 5}]
)
def test_changed_record_is_not_intact(change):
    assert not is_intact(seal(RECORD) | change)


@pytest.mark.parametrize("place", range(len("checksum")))
def test_a_flipped_bit_in_the_checksums_name_makes_no_older_record(place):
    sealed = seal(RECORD)
    checksum = sealed.pop("checksum")
    for bit in range(7):
        name = bytearray(b"checksum")
        name[place] ^= 1 << bit
        assert not is_intact(sealed | {name.decode(): checksum})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\udcff", "né"])
def test_values_that_strict_json_lacks_can_be_sealed(value):
    sealed = seal({"value": value})
    assert is_intact(json.loads(json.dumps(sealed)))


def test_text_that_is_not_utf_8_is_written_with_backslashes(tmp_path):
    write_whole(tmp_path / "names.txt", os.fsdecode(b"caf\xc3\xa9 caf\xe9"))
    written = (tmp_path / "names.txt").read_bytes()
    assert written == b"caf\xc3\xa9 " + rb"caf\udce9"


def test_a_folder_that_is_not_utf_8_is_refused_in_a_line():
    check_utf_8("--out", "/tmp/caf\u00e9")
    with pytest.raises(UserError) as caught:
        check_utf_8("--out", os.fsdecode(b"/tmp/caf\xe9\n"))
    assert str(caught.value) == (
        r"--out = '/tmp/caf\udce9\n' is not UTF-8, which the libraries that write "
        "arrays need; rename the folder, or choose another"
    )


def test_the_address_of_a_bucket_is_no_folder():
    with pytest.raises(UserError, match=r"give for example --workdir=/mnt/b/run$"):
        local_folder("--workdir", "gs://b/run")
