"""Help pages, and what the command line says of words that it does not know."""

import re
from importlib import metadata

import click
import pytest
import typer

from simulations.commands import main
from simulations.commands.runs import runs

COMMANDS = list(typer.main.get_command(main.app).commands)
GROUPED = [f"runs {name}" for name in typer.main.get_command(runs).commands]


def fedgan(*arguments, capsys):
    code = main._run(list(arguments), debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("requested", ["-h", "--help"])
@pytest.mark.parametrize("command", ["", *COMMANDS, *GROUPED])
def test_every_help_page_is_plain_text_of_80_columns_and_says_what_each_word_is(
    command, requested, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = fedgan(*command.split(), requested, capsys=capsys)
    assert (code, err) == (0, "")
    assert not re.search(r"\\\[|\x1b|\[/?(bold|dim|red|green)|[╭│─]", out)
    assert max(map(len, out.splitlines())) <= 80
    assert len(re.findall(r"rguments:$", out, re.MULTILINE)) <= 1
    shown = typer.main.get_command(main.app)
    for name in command.split():
        shown = shown.commands[name]
    for param in shown.params:
        assert getattr(param, "help", None), param.name
        assert param.help.split()[0] in out
        assert not isinstance(param, click.Option) or param.opts[0] in out


def test_without_a_word_the_command_shows_its_help_and_is_no_success(capsys):
    code, out, err = fedgan(capsys=capsys)
    assert (code, err) == (2, "")
    assert out.startswith("Usage: fedgan [OPTIONS] COMMAND")


@pytest.mark.parametrize("requested", ["-V", "--version"])
def test_the_version_is_said_with_what_matters_beside_it(requested, capsys):
    code, out, err = fedgan(requested, capsys=capsys)
    assert (code, err) == (0, "")
    assert out.startswith("fedgan ")
    for package in ("torch", "flwr"):
        assert f"{package} {metadata.version(package)}" in out
    assert "Python 3." in out


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("simulate --rounds 5", "No such option '--rounds'; it is a setting: -c federation.num-rounds=5"),
        ("simulate -rounds 5", "No such option '-rounds'; it is a setting: -c federation.num-rounds=5"),
        ("simulate --num_clients=3", "it is a setting: -c federation.num-clients=3"),
        ("simulate --epochs", "it is a setting: -c federation.num-rounds=45"),
        ("simulate --batch-size many", "it is a setting: -c local.batch-size=32"),
        ("simulate --lr 0.001", "it is a setting: -c local.learning-rate=0.001"),
        ("simulate --seed 3", "it is a setting: -c seed=3"),
        ("simulate --model mlp", "it is a setting: -c 'model=\"mlp\"'"),
        ("simulate --dataset mnist", "it is a setting: -c 'data.name=\"mnist\"'"),
        ("simulate --data-dir /x", "it is a setting: -c 'data.root=\"/x\"'"),
        ("simulate --local.steps=3", "it is a setting: -c local.steps=3"),
        ("simulate --amp", "it is a setting: -c local.mixed-precision=true"),
        ("simulate --gpu", "a GPU is used where there is one"),
        ("simulate --device cuda", "a GPU is used where there is one"),
        ("simulate --output x", "did you mean --out?"),
        ("simulate -o x", "did you mean --out?"),
        ("simulate --resum", "did you mean --resume?"),
        ("simulate --wrong", "fedgan simulate --help lists them"),
        ("partition --clients 3", "it is a setting: -c federation.num-clients=3"),
        ("generate r --count 5 --out x", "did you mean --num?"),
        ("generate r -c seed=3 --out x", "generate takes no settings, but the run's own"),
        ("export r --to onnx --out a --license MIT", "did you mean --licence?"),
        ("--rounds 5", "it is a setting: fedgan simulate -c federation.num-rounds=5"),
        ("--out x simulate", "options of a command stand after it: fedgan COMMAND --out"),
        ("simulate -c a=1 b=2", "several stand in one pair of quotes: -c b=2"),
        ("simulate -c a=1 b=2 c=3", "Unexpected word 'c=3'; several settings stand in one pair of quotes"),
        ("generate a b --out x", "Unexpected word 'b'"),
        ("train", "No such command 'train'; did you mean simulate?"),
        ("run --x", "did you mean simulate?"),
        ("smulate", "did you mean simulate?"),
        ("help", "fedgan --help"),
        ("version", "fedgan --version"),
        ("seed=3", "a setting follows a command: fedgan simulate -c seed=3"),
        ("generate --out x", "Missing argument 'RUN': A run directory."),
        ("generate r --out x --num 1e3", "'1e3' is not a valid whole number"),
        ("components mlp", "it is a choice of model"),
    ],
)
def test_a_word_that_is_not_known_is_answered_once_with_what_is_meant(typed, words, capsys):
    code, out, err = fedgan(*typed.split(), capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert err.lower().count("did you mean") <= 1
