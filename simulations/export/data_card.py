"""The card of a data set of generated images, in Markdown."""

import re
from collections.abc import Mapping
from typing import Any

from server.records.run_directory import RunDirectory
from simulations.export import card
from simulations.export.subjects import Subject
from simulations.runs import provenance

_OF_LABELS = re.compile(r"\[\"labels?\"\]")


def data_card(
    run: RunDirectory,
    subject: Subject,
    manifest: Mapping[str, Any],
    usage: str,
    licence: str,
) -> str:
    """Returns the card of a data set that a run's generator made, in Markdown; see ``model_card``."""
    trained, noun = subject.trained, subject.noun
    counts = manifest["label-counts"]
    origin = f"--round {trained.round} --seed {manifest['seed']}"
    only = "" if manifest["label"] is None else f" --label {manifest['label']}"
    both = zip(manifest["class-names"], counts["train"], counts["validation"], strict=True)
    rows = [f"| {card.cell(name)} | {train:,} | {held_out:,} |" for name, train, held_out in both]
    table = ["| class | train | validation |", "|---|---|---|", *rows]
    if not trained.conditional:
        table = [f"The generator is not conditional: the {noun} have **no labels**."]
    else:
        table += ["", "A label is the class that the generator was given, not what anyone saw in it."]
    return "\n".join(
        [
            *card.front_matter(
                licence,
                f"{noun.removesuffix('s')}-classification" if trained.conditional else "",
                ["synthetic", card.family(trained)[1]],
            ),
            f"# Synthetic {noun} like {card.data_name(trained)}",
            "",
            f"**Made by a generator, not recorded**: {manifest['train']:,} training and {manifest['validation']:,} "
            f"validation {noun}, {subject.sized}; of round "
            f"{trained.round} of the run `{run.name}`, with seed {manifest['seed']}, by {provenance.software()}. "
            f"Number i is that of `fedgan generate RUN {origin}{only} --num N`, for any N > i.",
            "",
            "## Use",
            "",
            "```python",
            *(text for text in usage.splitlines() if trained.conditional or not _OF_LABELS.search(text)),
            "```",
            "",
            "## Labels and split",
            "",
            *table,
            "",
            f"Held out are {manifest['validation']:,} {noun}, of each class its share, at equal distances: a fixed "
            "rule. Both parts come from one generator, so **a score on the validation part says nothing about real "
            f"{noun}**.",
            "",
            "## Model card of the generator",
            "",
            *card.of_generator(run, trained, licence),
            f"SHA-256 of the generator's weights: `{trained.digest}`",
            "",
        ]
    )
