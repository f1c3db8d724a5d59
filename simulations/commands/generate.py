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
    from common.models import Sampler

RoundOption = Annotated[
    str | None, typer.Option("--round", metavar="N|best", help="A round with a checkpoint; default: the last.")
]
ClientOption = Annotated[
    int | None, typer.Option("--client", help="A client's own generator, where clients keep theirs.")
]


def generate(  # noqa: PLR0913, PLR0917  a command has many options
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .npz, a .png grid, or a folder of PNGs.")],
    num: Annotated[int, typer.Option("--num", min=1, max=MOST_IMAGES, help="Images.")] = 100,
    label: Annotated[int | None, typer.Option("--label", help="Only images of this class.")] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="All classes in turn (the default).")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Same seed, same images.")] = 0,
    round: RoundOption = None,
    client: ClientOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Make images with a run's generator."""
    import torch

    from common.generation import generate as make_images
    from simulations.runs import provenance
    from simulations.runs.generator import load_trained, parse_round
    from simulations.runs.image_files import check_place, write_examples

    if label is not None and balanced:
        raise ConfigError("--label and --balanced exclude each other")
    trained = load_trained(run, parse_round(round), client)
    check_place(out, overwrite, "add --overwrite", trained.spec)
    if not trained.conditional and (label is not None or balanced):
        raise ConfigError("this run's generator is not conditional: it takes no --label, and cannot be --balanced")
    if label is not None:
        trained.require_known([label], "--label {}")
    labels = torch.full((num,), label) if label is not None else trained.in_turn(num)
    images = make_images(trained.generator, labels, seed)
    if not trained.conditional:
        labels = torch.full((num,), -1)  # what the images show is not known
    columns = min(len(trained.held), 20) if trained.conditional and label is None and len(trained.held) > 1 else 10
    origin = provenance.origin(run.absolute().name, trained.config.data.name, trained.round, seed, trained.digest)
    write_examples(trained.spec, images, labels, out, columns, origin)
    typer.echo(str(out))


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
    client: ClientOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run's generator on held-out examples."""
    from common.config import Scalar
    from common.metrics import table
    from common.metrics.bleu import BLEU
    from server.evaluation.evaluator import Evaluator
    from simulations.runs.generator import load_trained, parse_round
    from simulations.runtime.progress import scoring

    trained = load_trained(run, parse_round(round), client)
    sweep = _at(temperatures, trained.generator) if temperatures else {}
    changes: dict[str, Scalar] = {}
    if data is not None:
        changes["data.name"] = data
    if root is not None:
        changes["data.root"] = str(Path(root).expanduser().absolute())
    config = trained.config.replaced(changes)
    dataset = config.source.load(Path(config.data.root).expanduser(), image_size=config.data.image_size)
    if trained.spec.widened(dataset.spec) != trained.spec:
        raise ConfigError(f"--data {config.data.name!r} has {dataset.spec}, the generator makes {trained.spec}")
    names = tuple(name.strip() for name in metrics.split(",")) if metrics else table.held_out()
    evaluator = Evaluator(config, dataset)
    for name in names if metrics else ():
        if reason := evaluator.limits.reason_against(name):
            raise ConfigError(f"--metrics {name}: {reason}")
    num = num or config.evaluation.final_num_samples
    with scoring(sys.stderr):
        told = evaluator.told(trained.generator, names, num)
        if sweep:
            told["temperatures"] = {at: evaluator.score(sampler, [BLEU.name], num) for at, sampler in sweep.items()}
    if as_json:
        typer.echo(json.dumps({"run": str(run.absolute()), "round": trained.round, **told}))
    else:
        print_scores(told)
        for at, scores in told.get("temperatures", {}).items():
            cells = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
            typer.echo(f"temperature {at:<5} {cells}")


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
