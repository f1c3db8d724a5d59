"""How the command line shows its help, and what it says of words that it does not know."""

import difflib
import inspect
import shlex
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import click
from typer.core import TyperCommand, TyperGroup

_COMMANDS = {
    "simulate": "train run start fit learn resume continue quickstart",
    "generate": "sample samples synthesize synthesise draw images",
    "evaluate": "score scores eval test metrics",
    "data": "dataset datasets download fetch",
    "components": "list models algorithms objectives partitions options",
    "serve": "ui web gui dashboard page watch server show",
    "partition": "split plot",
    "search": "tune sweep optimise optimize hpo hyperparameters optuna",
    "study": "grid experiment experiments repeat cross-validate crossvalidate folds",
    "benchmark": "bench compare",
    "certificates": "certs cert keys",
    "export": "convert onnx save",
    "compress": "distil distill shrink prune quantize quantise smaller",
    "submit": "deploy",
    "inspect": "info origin",
    "audit": "attack membership leak privacy mia canaries",
    "runs": "ls experiments history archive delete rm remove",
    "config": "configuration settings setting keys key describe explain",
    "completion": "complete completions autocomplete",
}
_OPTIONS = {
    "--out": "o output output-dir out-dir dir save-dir outdir dest",
    "--num": "n number count samples num-samples num-samples",
    "--label": "class labels y",
    "--round": "checkpoint epoch step",
    "--trials": "n-trials num-trials n",
    "--budget": "timeout time max-time time-limit",
    "--space": "search-space params parameters",
    "--side-by-side": "parallel concurrent concurrency n-parallel",
    "--to": "format",
    "--licence": "license",
    "--workers": "j jobs num-workers n-jobs processes cpus",
    "--engine": "backend runtime",
    "--json": "as-json",
    "--overwrite": "force f y yes exist-ok",
    "--dry-run": "check validate print-config show-config",
    "--version": "v V",
    "--debug": "verbose traceback",
    "--port": "p",
    "--root": "data data-dir data-root",
}
_GPU = "a GPU is used where there is one, and CUDA_VISIBLE_DEVICES= keeps it out"
_BY_ITSELF = dict.fromkeys(("gpu", "gpus", "cuda", "device", "cpu", "no-cuda", "use-gpu"), _GPU)


class _Plain(click.HelpFormatter):
    """Writes brackets as they are: typer escapes them for rich, which does not write these pages."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, text.replace("\\[", "[")) for name, text in rows], col_max, col_spacing)


class _Context(click.Context):
    formatter_class = _Plain


class Command(TyperCommand):
    """A command whose help is plain text, and which says what is meant by words that it does not know."""

    context_class = _Context

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        declared = inspect.signature(self.callback).parameters if self.callback else {}
        for param in self.params:
            if param.name in declared and getattr(param, "help", None) is None:  # click 8.5 forgets that of an argument
                about = getattr(declared[param.name].annotation, "__metadata__", ())
                param.help = next((one.help for one in about if hasattr(one, "help")), None)

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes nothing: click 8.5 would write what typer writes with the options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        ctx.allow_extra_args = True  # to say of them what is meant
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(_of_option(error.option_name, given, ctx), ctx) from None
        except click.MissingParameter as error:
            help_text = getattr(error.param, "help", None)
            raise click.UsageError(
                error.format_message().rstrip(".") + (f": {help_text}" if help_text else ""), ctx
            ) from None
        except click.BadParameter as error:
            words = error.message.replace("integer range", "whole number").replace("valid integer", "whole number")
            raise click.BadParameter(words, error.ctx, error.param, error.param_hint) from None
        if rest and not ctx.resilient_parsing:
            raise click.UsageError(_of_extra(rest), ctx)
        return rest


class Group(TyperGroup):
    """All commands, likewise."""

    context_class = _Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(_of_option(error.option_name, given, ctx), ctx) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            meant = _of_command(args, self.commands, ctx.command_path)
            raise click.UsageError(f"No such command {args[0]!r}; {meant}", ctx)
        return super().resolve_command(ctx, args)


def _of_command(words: Sequence[str], known: Collection[str], program: str) -> str:
    word = words[0].lower().strip("-").replace("_", "-")
    if word == "help":
        return f"help is {program} --help, or {program} COMMAND --help"
    if word == "version":
        return "it is fedgan --version"
    if "=" in word or word.endswith(".toml"):
        return f"a setting follows a command: fedgan simulate -c {shlex.quote(words[0])}"
    meant = next((name for name, others in _COMMANDS.items() if name in known and word in [name, *others.split()]), "")
    close = [meant] if meant else difflib.get_close_matches(word, known, n=2)
    return f"did you mean {' or '.join(close)}?" if close else f"{program} --help lists them"


def _of_option(name: str, given: Sequence[str], ctx: click.Context) -> str:
    """Returns what is meant by an option that a command does not have."""
    from common.config import RunConfig
    from common.setting_suggestions import nearest
    from simulations.runtime.settings import shown

    written, value = _as_written(name, given)
    problem, word = f"No such option {written!r}", written.lstrip("-").lower().replace("_", "-")
    own = _options_of(ctx.command)
    other = next((option for option, words in _OPTIONS.items() if option in own and word in words.split()), None)
    close = [other] if other else difflib.get_close_matches(f"--{word}", own, n=2, cutoff=0.75)
    if close:
        return f"{problem}; did you mean {' or '.join(close)}?"
    is_group = isinstance(ctx.command, click.Group)
    if isinstance(ctx.command, click.Group) and any(written in _options_of(it) for it in ctx.command.commands.values()):
        return f"{problem} here; options of a command stand after it: fedgan COMMAND {written}"
    if word in _BY_ITSELF:
        return f"{problem}; {_BY_ITSELF[word]}"
    keys = RunConfig().flat()
    if (is_group or "--config" in own) and (found := nearest(word, keys, 1)):
        start = "fedgan simulate " if is_group else ""
        return f"{problem}; it is a setting: {start}{shown(found[0], _typed(value, keys[found[0]]))}"
    if not is_group and word in ("c", "config"):
        return f"{problem}; {ctx.command.name} takes no settings, but the run's own"
    return f"{problem}; {'fedgan' if is_group else f'fedgan {ctx.command.name}'} --help lists them"


def _options_of(command: click.Command) -> set[str]:
    return {option for param in command.params for option in (*param.opts, *param.secondary_opts)}


def _as_written(name: str, given: Sequence[str]) -> tuple[str, str | None]:
    """Returns an option as it was written (click says ``-r`` of ``-rounds``), and its value where one follows."""
    for position, word in enumerate(given):
        option, has_value, value = word.partition("=")
        if option == name or (len(name) == 2 and not word.startswith("--") and word.startswith(name)):
            follows = given[position + 1] if position + 1 < len(given) else ""
            return option, value if has_value else (follows if follows and follows[0] != "-" else None)
    return name, None


def _typed(text: str | None, default: object) -> object:
    """Returns an option's value as that of a key, or the key's default where it can be none."""
    if text is None:
        return True if isinstance(default, bool) else default
    if isinstance(default, bool):
        return text.lower() not in ("false", "no", "off", "0")
    if isinstance(default, str):
        return text
    try:
        return type(default)(text)  # type: ignore[call-arg]
    except ValueError:
        return default


def _of_extra(words: Sequence[str]) -> str:
    problem = f"Unexpected word{'s' if len(words) > 1 else ''} {' '.join(words)!r}"
    if any("=" in word for word in words):
        return f"{problem}; several settings stand in one pair of quotes: -c 'KEY=VALUE KEY=VALUE'"
    return f"{problem}; words with spaces in between want quotes"
