"""The documentation is so: its links lead somewhere, and its commands and settings are there."""

import itertools
import re
import shlex
import sys
import tomllib
from pathlib import Path

import click
import pytest
import typer

sys.path.insert(0, str(Path(__file__).parent))
import pages
from examples import EXAMPLES, PAGE, put
from pages import PAGES, name_of

from common import components
from common.component_tables import TABLES
from common.config import RunConfig
from common.config_values import flatten
from simulations.benchmark.protocols import PROTOCOLS
from simulations.commands.main import app
from simulations.runtime.settings import read_overrides, read_preset
from simulations.studies.study_file import read_study

COMMAND = typer.main.get_command(app)
KEYS = RunConfig.keys()
SECTIONS = {key.partition(".")[0] for key in KEYS if "." in key}
PLACEHOLDER = re.compile(r"\b(KEY|VALUE|FILE|NAME|SPLIT|DIR|HASH|VARIABLE)\b|\.\.\.")


def parsed(words, page=""):
    """Returns the name of a command, or of one of a group, and what it is given; it is not run."""
    name, *rest = words
    assert name in COMMAND.commands, name
    command, parent = COMMAND.commands[name], click.Context(COMMAND)
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        parent, name = click.Context(command, parent=parent, info_name=name), f"{name} {rest[0]}"
        assert rest[0] in command.commands, name
        command, rest = command.commands[rest[0]], rest[1:]
    try:
        return name, command.make_context(name, list(rest), parent=parent).params
    except click.ClickException as error:
        pytest.fail(f"{page}: {' '.join(words)}: {error.format_message()}")


def every(items, page):
    found = list(items(page))
    return [pytest.param(page, item, id=f"{name_of(page)}-{k}") for k, item in enumerate(found)]


def cases(items):
    return [case for page in PAGES for case in every(items, page)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_every_anchor_to_a_heading(page):
    broken = []
    for target, anchor in pages.links(page):
        if not target.resolve().exists():
            broken.append(f"no file {target}")
        elif anchor and anchor not in pages.slugs(target):
            broken.append(f"no heading #{anchor} in {target.name}: {sorted(pages.slugs(target))}")
    assert not broken


def test_anchors_are_those_of_github():
    text = "# A `b.c`, d's & e\n## Same\n## Same\n### [Linked](x.md) -- (twice)\n"
    page = type("Page", (), {"read_text": lambda self: text})()
    assert pages.slugs(page) == {"a-bc-ds--e", "same", "same-1", "linked----twice"}


def test_commands_are_taken_out_of_a_block():
    text = "A=1 fedgan a 'b c' \\\n   --d  # why\ncd x && .venv/bin/fedgan e | head\ntee f <<'EOT'\nnot this\nEOT\n"
    assert list(pages.commands_in(text)) == [
        ["fedgan", "a", "b c", "--d"], ["cd", "x"], [".venv/bin/fedgan", "e"], ["head"], ["tee", "f"],
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_command_has_a_backslash_before_the_end_of_a_line_within_single_quotes(page):
    """There a shell keeps it, so that it becomes part of the setting."""
    for block in pages.blocks(page, "bash"):
        for words in shlex.split(pages.without_here_documents(block.text), comments=True):
            assert "\\\n" not in words, words


def of_fedgan(page):
    found = [words[1:] for words in pages.commands(page) if Path(words[0]).name == "fedgan"]
    return [words for words in found if words != ["--version"]]


def preset_of(name, page):
    """Returns the settings of a preset, or of a file that the page gives; none of one that a search on it has made."""
    searches = [words for words in of_fedgan(page) if words[0] == "search" and "--out" in words]
    if name in {f"{words[words.index('--out') + 1]}/best.toml" for words in searches}:
        return {}
    file = pages.files(page).get(name)
    return read_preset(name) if file is None else flatten(tomllib.loads(file))


def overrides_of(arguments, page):
    files = pages.files(page)
    given = [flatten(tomllib.loads(files[it])) if it in files else read_overrides([it]) for it in arguments or ()]
    return {key: value for values in given for key, value in values.items()}


@pytest.mark.parametrize(("page", "words"), cases(of_fedgan))
def test_every_command_can_be_called_as_it_is_written(page, words, monkeypatch, tmp_path):
    for example in EXAMPLES.values() if page == PAGE else ():
        put(example, monkeypatch)
    name, given = parsed(words, name_of(page))
    if name in ("simulate", "partition"):
        base = preset_of(given["preset"] or "quickstart", page)
        RunConfig.from_flat(base | overrides_of(given["config"], page))
    elif name == "submit":
        RunConfig.from_flat(overrides_of(given["config"], page))
    elif name == "study":
        (tmp_path / given["file"]).write_text(pages.files(page)[str(given["file"])])
        read_study(tmp_path / given["file"], read_overrides(given["config"]), given["seeds"])
    elif name == "benchmark":
        assert given["protocol"].upper() in PROTOCOLS
        variants = [text.partition("=")[2] for text in given["variant"] or ()]
        for text in [*variants, *(given["config"] or ())]:
            RunConfig.from_flat(read_preset(given["protocol"].lower()) | read_overrides([text]))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_of_flowers_own_commands_are_there(page):
    for words in pages.commands(page):
        if words[:2] == ["flwr", "run"]:
            for flag, value in itertools.pairwise(words):
                if flag == "-c":
                    values = read_preset(value) if value.endswith(".toml") else read_overrides([value])
                    assert values.keys() <= RunConfig.from_flat(values).flat().keys()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_run_that_a_command_uses_was_made_by_one_before(page):
    made = set()
    for words in of_fedgan(page):
        name, given = parsed(words)
        if name in ("generate", "evaluate", "export", "compress", "report", "track"):
            assert str(given["run"]) in made, f"nothing on {name_of(page)} makes {given['run']}"
        if given.get("resume"):
            assert str(given["out"]) in made
        elif given.get("out"):
            made.add(str(given["out"]).removeprefix("$PWD/"))
    requested = re.findall(r"localhost:8808/api/runs/([\w-]+)/", page.read_text())
    assert set(requested) <= {Path(run).name for run in made}


def mentioned(page):
    """Commands within sentences, as ``fedgan submit --retries``: not whole, but there."""
    return [span for span in pages.spans(page) if span.startswith("fedgan ")]


@pytest.mark.parametrize(("page", "span"), cases(mentioned))
def test_every_command_within_a_sentence_is_there_with_its_options(page, span):
    words = span.split()[1:]
    command = COMMAND
    if not words[0].startswith("-"):
        if words[0] == "COMMAND":
            return
        command = COMMAND.commands.get(words.pop(0))
        assert command, span
        if isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command = command.commands.get(words.pop(0))
            assert command, span
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    for word in words:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in known, span


def settings(page):
    """Keys within sentences, perhaps with a value, as ``local.steps=20``; and keys without a dot with a quoted one."""
    for span in pages.spans(page):
        key, _, value = span.partition("=")
        dotted = re.fullmatch(r"[a-z]+\.(?!py$)[a-z0-9-]+", key) and key.partition(".")[0] in SECTIONS
        if dotted or (key in KEYS and value.startswith('"')):
            yield key, value


@pytest.mark.parametrize(("page", "setting"), cases(settings))
def test_every_setting_within_a_sentence_is_there(page, setting):
    key, value = setting
    assert key in KEYS, components.suggestion(key, list(KEYS))
    if not value or PLACEHOLDER.search(value) or re.search(r"\bN\b", value):
        return
    text = value if KEYS[key] is not str or value[0] in "\"'" else f'"{value}"'
    RunConfig.from_flat(read_overrides([f"{key}={text}"]))


def test_the_table_of_choices_names_every_component_and_none_that_is_not():
    rows = re.findall(r"^\| `([a-z.]+)` \| (.*) \|$", (pages.ROOT / "README.md").read_text(), re.MULTILINE)
    shown = {key: re.findall(r"`([^`]+)`", words) for key, words in rows if key in TABLES}
    assert set(shown) == set(TABLES)
    for key, choices in shown.items():
        whole = [text for text in choices if text.split()[0] in TABLES[key]]
        assert {text.split()[0] for text in whole} == set(TABLES[key]), key
        for text in whole:
            if not PLACEHOLDER.search(text):
                components.parse(key, TABLES[key], text)
        options = {field.alias for kind in TABLES[key].values() for field in kind.model_fields.values()}
        for text in set(choices) - set(whole):
            name = re.match(r"([a-z0-9-]+)=", text)
            assert not name or name[1] in options, f"{key}: {text}"
