"""``fedgan config``: every key, and what a word is about."""

import json

import pytest

from common import config_reference
from common.component_tables import TABLES
from common.config import RunConfig
from simulations.commands import main


def fedgan(*arguments, capsys):
    code = main._run(list(arguments), debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def known():
    return config_reference.settings()


def test_every_key_is_there_with_its_meaning_and_default(known):
    assert {setting.name: setting.default for setting in known} == RunConfig().flat()
    assert {setting.name: setting.meaning for setting in known} == RunConfig.descriptions()
    assert all(setting.meaning and setting.allowed for setting in known)


def test_keys_of_components_have_every_one_with_every_option(known):
    shown = {setting.name: setting for setting in known if setting.choices}
    assert shown.keys() == TABLES.keys()
    for key, table in TABLES.items():
        choices = {choice.name: choice for choice in shown[key].choices}
        assert choices.keys() == table.keys()
        for name, component in table.items():
            options = {field.alias or inner: field.default for inner, field in component.model_fields.items()}
            assert {option.name: option.default for option in choices[name].options} == options


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("seed", "a whole number, 0 or more"),
        ("federation.fraction", "a number, above 0, at most 1"),
        ("local.schedule", "one of constant, linear, cosine"),
        ("output.resume", "true or false"),
        ("data.root", "text"),
        ("weighting", "one of examples, uniform, kl-typical, kl-skewed, mmd"),
        ("hooks", "one of target; several with | between; or nothing"),
    ],
)
def test_what_a_key_may_be_is_said_in_words(known, key, allowed):
    assert {setting.name: setting.allowed for setting in known}[key] == allowed


@pytest.mark.parametrize(
    ("word", "first", "components"),
    [
        ("local.steps", "local.steps", None),
        ("batch_size", "local.batch-size", None),
        ("epochs", "federation.num-rounds", None),
        ("guard", "guard.ratio", None),
        ("krum", "aggregate", ["krum"]),
        ("mu", "algorithm", ["fedprox"]),
        ("coin", "evaluation.canaries", None),
    ],
)
def test_a_word_is_found_wherever_it_stands(known, word, first, components):
    found = config_reference.search(word, known)
    assert found[0].name == first
    if components:
        assert [choice.name for choice in found[0].choices] == components


def test_an_option_comes_alone_and_a_component_whole(known):
    (setting,) = [one for one in config_reference.search("r1", known) if one.name == "objective"]
    assert all([option.name for option in choice.options] == ["r1"] for choice in setting.choices)
    (setting,) = config_reference.search("wgan-gp", known)
    assert len(setting.choices[0].options) > 1


def test_a_key_is_printed_with_what_it_may_be(capsys):
    code, out, err = fedgan("config", "local.schedule", capsys=capsys)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        'local.schedule="cosine"',
        f"    {RunConfig.descriptions()['local.schedule']}",
        "    one of constant, linear, cosine",
    ]


def test_a_setting_as_it_is_typed_is_its_key(capsys):
    assert fedgan("config", "local.steps=20", capsys=capsys) == fedgan("config", "local.steps", capsys=capsys)


def test_all_keys_are_printed_and_json_says_the_same(capsys):
    _, out, _ = fedgan("config", capsys=capsys)
    _, as_json, _ = fedgan("config", "--json", capsys=capsys)
    listed = json.loads(as_json)["settings"]
    assert [row["key"] for row in listed] == list(RunConfig.keys())
    assert all(f"{row['key']}=" in out for row in listed)
    (fraction,) = [row for row in listed if row["key"] == "federation.fraction"]
    assert (fraction["type"], fraction["exclusiveMinimum"], fraction["maximum"]) == ("number", 0, 1)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("num-roundz", "federation.num-rounds"), ("fedporx", "fedprox"), ("instanse-noise", "instance-noise")],
)
def test_a_word_that_is_nowhere_is_an_error_with_the_nearest_key_component_or_option(word, meant, capsys):
    code, out, err = fedgan("config", word, capsys=capsys)
    assert (code, out) == (2, "")
    assert err == f"error: {word!r}: no setting speaks of it; did you mean {meant!r}?\n"
