"""Settings and presets as people write them: read, or refused once, with what to write instead."""

import codecs
import os

import pytest

from common.config import RunConfig
from common.errors import ConfigError
from simulations.runtime.settings import read_overrides, read_preset


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed=3", {"seed": 3}),
        ("seed=3 local.steps=7", {"seed": 3, "local.steps": 7}),
        ('objective="hinge r1=0.5" seed=1', {"objective": "hinge r1=0.5", "seed": 1}),
        ("partition='shards per-client=4'", {"partition": "shards per-client=4"}),
        ("federation.fraction=0.5 output.resume=true", {"federation.fraction": 0.5, "output.resume": True}),
    ],
)
def test_overrides_have_flowers_syntax(text, expected):
    from flwr.common.config import parse_config_args

    assert read_overrides([text]) == expected == parse_config_args([text])


@pytest.mark.parametrize("text", ["seed", "seed=", "objective=hinge", "seed=1 junk", "missing.toml"])
def test_what_is_no_override_is_refused_by_its_text(text):
    with pytest.raises(ConfigError) as caught:
        read_overrides([text])
    assert text.split()[-1].rstrip("=") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('objective="hinge r1=0.1', '-c objective="hinge r1=0.1: the quote after objective= is not closed'),
        ('seed=1 objective="hinge', '-c seed=1 objective="hinge: the quote after objective= is not closed'),
        ("objective=hinge", "-c objective=hinge: not a TOML value; strings need quotes: 'objective=\"hinge\"'"),
        ('objective=hinge"', '-c objective=hinge": not a TOML value; strings need quotes: \'objective="hinge"\''),
    ],
)
def test_a_quote_that_is_missing_is_named_and_none_is_doubled(text, words):
    with pytest.raises(ConfigError) as caught:
        read_overrides([text])
    assert str(caught.value) == words


def test_later_overrides_win(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("seed = 1\n[local]\nsteps = 5\n")
    assert read_overrides([str(file), "seed=2"]) == {"seed": 2, "local.steps": 5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed=1 local.steps=2 seed=3", "seed is given twice; leave one out"),
        ("local.learning-rate=0,001", "a decimal comma; write local.learning-rate=0.001"),
        ("federation.fraction=,5", "a decimal comma; write federation.fraction=0.5"),
        ("local.steps=1,000", "write local.steps=1000"),
        ("federation.fraction=.5", "write federation.fraction=0.5"),
        ("federation.fraction=50%", "write federation.fraction=0.5"),
        (
            "federation.wait-seconds=10s",
            "a number has no unit (how long to wait for all clients to connect, in seconds",
        ),
        ("seed=none", "expected a number"),
        (r'data.root="C:\Users"', r"""begins an escape; in single quotes it does not: "data.root='C:\Users'"""),
        (r'data.root="C:\new"', r"""in single quotes it does not: "data.root='C:\new'"""),
        (r"data.root=C:\data", r"""strings need quotes: "data.root='C:\data'"""),
        ("output.resume=True", "write output.resume=true"),
        ("evaluation.federated=no", "write evaluation.federated=false"),
        ("partition=dirichlet alpha=0.1", "strings need quotes: 'partition=\"dirichlet alpha=0.1\"'"),
        ("partition=“dirichlet alpha=0.1”", "typographic quotes; write 'partition=\"dirichlet alpha=0.1\"'"),
        ("model=‘mlp’", "typographic quotes; write 'model=\"mlp\"'"),
        ("seed = 3", "no spaces around =: -c seed=3"),
        ("seed= 3 local.steps=2", "no spaces around =: -c 'seed=3 local.steps=2'"),
        ("seed: 3", "write seed=3"),
        ("seed=1, local.steps=3", "separated by spaces, without commas"),
        ("seed=1;local.steps=3", "separated by spaces, without commas"),
        ("seed=1 # a note", "comments can stand in a TOML file"),
        ("=seed=3", "-c=seed=3: a space, not =, stands after -c: -c seed=3"),
        ("p1", "it is a preset: fedgan simulate p1"),
        ("mine.yaml", "read from a TOML file"),
    ],
)
def test_a_setting_that_cannot_be_read_is_answered_with_what_to_write(text, words):
    with pytest.raises(ConfigError) as caught:
        read_overrides([text])
    assert words in str(caught.value)
    assert str(caught.value).count(words) == 1


@pytest.mark.parametrize(
    "text", ["", "  ", "seed=1\nlocal.steps=3\n", "seed=+1 local.steps=1e3", "local.steps=5.0", 'data.root="a\u00a0b"']
)
def test_what_means_something_is_taken(text):
    assert isinstance(RunConfig.from_flat(read_overrides([text])).local.steps, int)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("num_rounds", 3, "did you mean 'federation.num-rounds'?"),
        ("num-rounds", 3, "did you mean 'federation.num-rounds'?"),
        ("federation.rounds", 3, "did you mean 'federation.num-rounds'?"),
        ("epochs", 3, "did you mean 'federation.num-rounds'?"),
        ("lr", 0.1, "did you mean 'local.learning-rate'?"),
        ("federation.num-client", 3, "did you mean 'federation.num-clients' or"),
        ("alpha", 0.1, "'alpha' is an option of partition, and stands in its value: partition=\"dirichlet alpha=0.1\""),
        ("algorithm.mu", 0.1, 'algorithm="fedprox mu=0.1"'),
        ("federation", 3, "did you mean 'federation.num-clients' or 'federation.num-rounds' or"),
        ("xyzzy", 3, "fedgan config lists every key"),
        ("local.steps", "10", "expected a whole number: 10, without quotes"),
        ("local.learning-rate", "1e-3", "expected a number: 1e-3, without quotes"),
        ("output.resume", "True", "expected true or false: true, without quotes"),
        ("model", 5, "model=5: expected a string"),
        ("output.dir", "caf\udce9", "bytes that are no text in this environment's encoding"),
        ("data.root", "a\0b", "a NUL character"),
    ],
)
def test_a_key_or_value_that_is_none_is_answered_with_the_nearest_few(key, value, words):
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_flat({key: value})
    assert str(caught.value).count(words) == 1
    assert len(str(caught.value)) < 300
    assert sum(f"'{known}'" in str(caught.value) for known in RunConfig().flat()) <= 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist", "it is a choice of data.name: -c 'data.name=\"mnist\"'"),
        ("fedprox", "it is a choice of algorithm"),
        ("b=2", "several stand in one pair of quotes: -c b=2"),
        ("run", "it is a run directory: go on with --resume --out run, or begin anew with run/config.toml"),
        ("pictures", "it is a folder; if it holds images: -c 'data.name=\"image-folder\"' -c 'data.root=\"pictures\"'"),
        ("mine.npz", "it is a file of arrays: -c 'data.name=\"npz\"'"),
        ("mine.jsonl", "it is JSON Lines: -c 'data.name=\"jsonl\"'"),
        ("mine.txt", "it is text: -c 'data.name=\"text-folder\"'"),
        ("mine.conf", "the name of a file of settings ends with .toml"),
        ("quikstart", "did you mean 'quickstart'?"),
    ],
)
def test_what_is_no_preset_is_named_for_what_it_is(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("run", "pictures"):
        (tmp_path / folder).mkdir()
    for file in ("run/config.toml", "mine.npz", "mine.conf", "mine.jsonl", "mine.txt"):
        (tmp_path / file).touch()
    with pytest.raises(ConfigError) as caught:
        read_preset(name)
    assert str(caught.value).count(words) == 1


def test_a_preset_is_found_in_capitals_too():
    assert read_preset("P1") == read_preset("p1")


@pytest.mark.parametrize(
    "content", [b"seed = 3\r\n[local]\r\nsteps = 5\r\n", codecs.BOM_UTF8 + b"seed = 3\nlocal.steps = 5"]
)
@pytest.mark.parametrize("name", ["a.toml", "A=1.toml", "A.TOML"])
def test_files_of_other_editors_are_read(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    assert read_overrides([str(tmp_path / name)]) == {"seed": 3, "local.steps": 5}
    assert read_preset(str(tmp_path / name)) == {"seed": 3, "local.steps": 5}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "seed = 3".encode("utf-16"),
            "not text in UTF-8 (UTF-16, perhaps, as PowerShell's > writes it): save it as UTF-8",
        ),
        ("seed = 3".encode("utf-16-le"), "save it as UTF-8"),
        (
            'seed = 3\n[data]\nroot = "caf\xe9"'.encode("latin-1"),
            "line 3, is not UTF-8: save the file as UTF-8: 'root = ",
        ),
        (b"seed = 3\n[local]\nlearning-rate = 0,001\n", "at line 3, column 18): 'learning-rate = 0,001'"),
        (b'{"seed": 3}', "is not TOML"),
        (None, "cannot be read: it is no file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path, content, words):
    file = tmp_path / "a.toml"
    file.write_bytes(content) if content is not None else file.mkdir()
    with pytest.raises(ConfigError) as caught:
        read_overrides([str(file)])
    assert str(file) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_no_file_can_have_is_refused_as_text():
    with pytest.raises(ConfigError, match="is not of the form KEY=VALUE"):
        read_overrides(["x" * (os.pathconf("/", "PC_NAME_MAX") + 1)])
