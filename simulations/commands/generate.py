"""The commands ``fedgan generate`` and ``fedgan evaluate``, which use a run's generator."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import ConfigError
from simulations.commands.options import JsonOption, OverwriteOption, RunArgument, print_scores
from simulations.runs.sample_requests import LARGEST_SEED, MOST_IMAGES

if TYPE_CHECKING:
    from torch import Tensor

    from common.config import Scalar
    from common.models import Sampler
    from server.evaluation.evaluator import Evaluator
    from simulations.runs.generator import LoadedGenerator

RoundOption = Annotated[
    str | None, typer.Option("--round", metavar="N|best", help="A round with a checkpoint; default: the last.")
]
ClientOption = Annotated[
    int | None, typer.Option("--client", help="A client's own generator, where clients keep theirs.")
]
SamplerOption = Annotated[
    str | None,
    typer.Option("--sampler", metavar="'KEY=VALUE ...'", help="Of flows: steps, solver, guidance; of text: top-p, ..."),
]


def generate(  # noqa: PLR0913, PLR0917  a command has many options
    run: RunArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Images: a .npz, a .png grid, or a folder of PNGs. Text: a .jsonl, .txt, .csv, .npz, or a folder.",
        ),
    ],
    num: Annotated[
        int | None, typer.Option("--num", min=1, max=MOST_IMAGES, help="How many; default: 100, or 20 texts.")
    ] = None,
    label: Annotated[int | None, typer.Option("--label", help="Only of this class.")] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="All classes in turn (the default).")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Same seed, same examples.")] = 0,
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", metavar="TEXT", help="What a text goes on from; repeatable, then in turn."),
    ] = None,
    prompt_file: Annotated[
        Path | None, typer.Option("--prompt-file", metavar="FILE", help="Prompts, one a line.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of text: below 1 likely characters are preferred.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="Of text: only the likeliest characters of this much probability.")
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", min=1, help="Characters of a text at most; default: 300.")
    ] = None,
    stop: Annotated[
        str | None, typer.Option("--stop", metavar="MARK", help="A text ends before this mark; \\n is a line break.")
    ] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="White space of texts.")] = False,
    without_words: Annotated[
        Path | None,
        typer.Option("--without-words", metavar="FILE", help="Drop texts with a word of this file, one a line."),
    ] = None,
    unique: Annotated[bool, typer.Option("--unique", help="Drop texts that are equal to one before.")] = False,
    sort: Annotated[bool, typer.Option("--sort", help="Texts in alphabetical order.")] = False,
    split: Annotated[
        str | None, typer.Option("--split", metavar="sentences|words", help="Put these into a .jsonl too.")
    ] = None,
    sampler: SamplerOption = None,
    round: RoundOption = None,
    client: ClientOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Make images or texts with a run's generator."""
    from simulations.runs.generator import load_trained, parse_round
    from simulations.runs.kinds import request_of, samples_of

    if label is not None and balanced:
        raise ConfigError("--label and --balanced exclude each other")
    arguments = {
        "num": num,
        "seed": seed,
        "prompts": [*(prompts or ()), *(_lines(prompt_file) or ())] or None,
        "temperature": temperature,
        "top_p": top_p,
        "length": length,
        "stop": None if stop is None else stop.replace("\\n", "\n"),
        "normalise": normalise or None,
        "without_words": _lines(without_words),
        "unique": unique or None,
        "sort": sort or None,
        "split": split,
    }
    trained = load_trained(run, parse_round(round), client, sampler or "")
    request, samples = request_of(trained.spec.kind, arguments), samples_of(trained.spec.kind)
    samples.check_place(trained.spec.kind, request, out, overwrite, "add --overwrite")
    labels = _labels(trained, request.num, label, balanced)
    made = samples.make(trained, run.absolute().name, request, labels, in_turn=label is None)
    for remark in made.remarks:
        typer.echo(remark, err=True)
    made.write(out)
    typer.echo(str(out))


def _lines(file: Path | None) -> list[str] | None:
    from simulations.runs.text_files import read_lines

    return read_lines(file) if file else None


def _labels(trained: "LoadedGenerator", num: int, label: int | None, balanced: bool) -> "Tensor":
    """Returns the label of each example: that of ``--label``, or all in turn.

    Raises:
        ConfigError: The generator makes no examples of a chosen class, or knows no such class.
    """
    import torch

    if not trained.conditional and (label is not None or balanced):
        raise ConfigError("this run's generator is not conditional: it takes no --label, and cannot be --balanced")
    if label is None:
        return trained.in_turn(num)
    trained.require_known([label], "--label {}")
    return torch.full((num,), label)


def evaluate(  # noqa: PLR0913, PLR0917  a command has many options
    run: RunArgument,
    num: Annotated[int | None, typer.Option("--num", min=100, help="Generated images; default: the run's own.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="Other held-out images (data.name).")
    ] = None,
    root: Annotated[str | None, typer.Option("--root", metavar="DIR", help="Where they are (data.root).")] = None,
    metrics: Annotated[str | None, typer.Option("--metrics", metavar="A,B", help="Only these.")] = None,
    round: RoundOption = None,
    temperatures: Annotated[
        str | None, typer.Option("--temperatures", metavar="A,B", help="Of text: bleu at each, as 0.7,0.85,1.")
    ] = None,
    sampler: SamplerOption = None,
    client: ClientOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run's generator on held-out examples."""
    from common.metrics import table
    from common.metrics.bleu import BLEU
    from simulations.runs.generator import load_trained, parse_round
    from simulations.runtime.progress import scoring

    trained = load_trained(run, parse_round(round), client, sampler or "")
    sweep = _at(temperatures, trained.generator) if temperatures else {}
    evaluator = _evaluator(trained, data, root)
    names = tuple(name.strip() for name in metrics.split(",")) if metrics else table.held_out()
    for name in names if metrics else ():
        if reason := evaluator.limits.reason_against(name):
            raise ConfigError(f"--metrics {name}: {reason}")
    num = num or trained.config.evaluation.final_num_samples
    with scoring(sys.stderr):
        summary = evaluator.summary(trained.generator, names, num)
        if sweep:
            summary["temperatures"] = {at: evaluator.score(sampler, [BLEU.name], num) for at, sampler in sweep.items()}
    if as_json:
        made_by = {"round": trained.round} | ({"sampler": sampler} if sampler else {})
        typer.echo(json.dumps({"run": str(run.absolute()), **made_by, **summary}))
    else:
        print_scores(summary)
        for at, scores in summary.get("temperatures", {}).items():
            cells = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
            typer.echo(f"temperature {at:<5} {cells}")


def _evaluator(trained: "LoadedGenerator", data: str | None, root: str | None) -> "Evaluator":
    """Returns what scores a generator on the run's held-out examples, or on those of ``--data`` and ``--root``.

    Raises:
        ConfigError: They are not of the kind that the generator makes.
    """
    from server.evaluation.evaluator import Evaluator

    changes: dict[str, Scalar] = {}
    if data is not None:
        changes["data.name"] = data
    if root is not None:
        changes["data.root"] = str(Path(root).expanduser().absolute())
    config = trained.config.replaced(changes)
    dataset = config.source.load(Path(config.data.root).expanduser(), image_size=config.data.image_size)
    if trained.spec.widened(dataset.spec) != trained.spec:
        raise ConfigError(f"--data {config.data.name!r} has {dataset.spec}, the generator makes {trained.spec}")
    return Evaluator(config, dataset)


def _at(temperatures: str, sampler: "Sampler") -> "dict[str, Sampler]":
    """Returns a sampler of text at each of some temperatures, ``0.7,1``, by their names.

    Raises:
        ConfigError: No numbers from 0.05 to 10, or a sampler of something else.
    """
    from common.models.tokens import TextSampler

    if not isinstance(sampler, TextSampler):
        raise ConfigError(f"--temperatures {temperatures}: only samplers of text have one")
    try:
        values = [float(text) for text in temperatures.split(",")]
    except ValueError:
        values = []
    if not values or not all(0.05 <= value <= 10 for value in values):
        raise ConfigError(f"--temperatures {temperatures}: no numbers from 0.05 to 10, as in 0.7,0.85,1")
    return {f"{value:g}": TextSampler(sampler.network, value, sampler.top_p).eval() for value in values}
