"""Files that are whole or not there, whatever their names are and whatever stands in their place."""

import os
from pathlib import Path

import pytest
import torch

from common import files
from common.errors import CheckpointError, ConfigError


def odd(folder):
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))
    path.mkdir()
    return path


def test_a_name_that_is_no_utf8_holds_the_same_bytes(tmp_path):
    tensors = {"a": torch.arange(4.0), "b": torch.ones(2, 2)}
    plain, other = tmp_path / "x.safetensors", odd(tmp_path) / "x.safetensors"
    for path in (plain, other):
        files.save_sealed(path, "a-kind", 1, {"key": "value"}, tensors)
    assert sorted(plain.read_bytes()) == sorted(other.read_bytes())
    header, found = files.load_sealed(other, "a-kind", 1)
    assert header["key"] == "value"
    assert all(torch.equal(found[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: Path(path).symlink_to("/dev/zero")])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(OSError, match="it is no file"):
        files.open_file(tmp_path / "x")
    with pytest.raises(ConfigError, match="it is no file"):
        files.read_toml(tmp_path / "x")
    with pytest.raises(CheckpointError, match="it is no file"):
        files.load_sealed(tmp_path / "x", "a-kind", 1)


@pytest.mark.parametrize(
    "content", [b"a = " + b"[" * 100_000, b"a = " + b"9" * 5000, b"\0", b"a = 'caf\xe9'", b"a", b"\xff\xfe"]
)
def test_what_is_no_toml_is_said_with_the_name_of_the_file(tmp_path, content):
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.toml'.* is not"):
        files.read_toml(path)


def test_a_toml_file_may_begin_with_a_byte_order_mark_and_is_of_a_bounded_length(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert files.read_toml(path) == {"a": 1}
    with path.open("r+b") as file:
        file.truncate(2**23)
    with pytest.raises(ConfigError, match="longer than"):
        files.read_toml(path)
