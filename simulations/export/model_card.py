"""The card of an exported generator, in Markdown."""

from collections.abc import Mapping
from typing import Any

from server.records.run_directory import RunDirectory
from simulations.export import card
from simulations.export.subjects import Subject
from simulations.runs import provenance
from simulations.runs.generator import LoadedGenerator


def model_card(
    run: RunDirectory,
    subject: Subject,
    manifest: Mapping[str, Any],
    code: str,
    licence: str,
) -> str:
    """Returns the model card of an export, in Markdown.

    Args:
        run: The run.
        subject: What is exported.
        manifest: What ``export.json`` holds.
        code: How to use the file, in Python.
        licence: Of the weights; empty: none is stated.
    """
    trained = subject.trained
    family, tag = card.family(trained)
    kind = "class-conditional" if trained.conditional else "unconditional"
    article = "A" if trained.conditional else "An"
    noun = subject.noun.removesuffix("s")
    return "\n".join(
        [
            *card.front_matter(
                licence, subject.task, [tag, f"{kind}-{noun}-generation", "federated-learning", "fedgan"]
            ),
            f"# {subject.title}",
            "",
            f"{article} {kind} {family}, trained by federated learning: {trained.config.federation.num_clients} "
            f"clients kept their {subject.noun}, and {_exchanged(trained)}. Exported from round {trained.round} of the "
            f"run `{run.name}` by {provenance.software()}.",
            "",
            "## Use",
            "",
            "```python",
            code,
            "```",
            "",
            *subject.signature(),
            "",
            "## Files",
            "",
            *_files(manifest, subject),
            "",
            *card.of_generator(run, trained, licence),
            f"SHA-256 of the weights: `{trained.digest}`",
            "",
        ]
    )


def _files(manifest: Mapping[str, Any], subject: Subject) -> list[str]:
    names = manifest["measured"]
    main = names[0]
    heads = ["file", "weights", "kB", f"{subject.equal} equal", "largest difference", *names, f"loss in {main}"]
    lines = ["| " + " | ".join(head.replace("-", " ") for head in heads) + " |", "|---" * len(heads) + "|"]
    for row in manifest["files"]:
        agreement = row["agreement"]
        figures = ["" if row[name] is None else f"{row[name]:.4g}" for name in names]
        loss = "" if row[f"{main}-loss"] is None else f"{row[f'{main}-loss']:+.3g}"
        lines.append(
            f"| `{row['file']}` | {row['precision']} | {row['bytes'] / 1000:,.0f} | {_share(agreement['equal'])} | "
            f"{agreement['largest']:.2g} | {' | '.join((*figures, loss))} |"
        )
    first = manifest["files"][0]["agreement"]["images"]
    measured, called = manifest[main], main.replace("-", " ")
    lines += [
        "",
        f"Compared with the run's own generator on {first} {subject.compared.format(tolerance=manifest['tolerance'])}. "
        "float16 and int8 say how weights are stored; they are "
        "computed with in float32, so these files are smaller and not faster.",
    ]
    if measured["own"] is None:
        lines.append(f"{called} was not measured: {measured['reason']}.")
    else:
        on = subject.measured.format(num=measured[subject.measured_on], own=measured["own"])
        lines.append(f"{called} {on}")
    return lines


def _share(equal: float) -> str:
    return "all" if equal == 1 else f"{100 * equal:.3f} %"


def _exchanged(trained: LoadedGenerator) -> str:
    return f"`{trained.config.algorithm.partition(' ')[0]}` made one generator of what they learned"
