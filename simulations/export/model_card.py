"""The card of an exported generator, in Markdown."""

from collections.abc import Mapping
from typing import Any

from common.examples import ImageSpec
from server.records.run_directory import RunDirectory
from simulations.export import card
from simulations.runs import provenance
from simulations.runs.generator import LoadedGenerator


def model_card(
    run: RunDirectory,
    trained: LoadedGenerator,
    spec: ImageSpec,
    manifest: Mapping[str, Any],
    usage: str,
    licence: str,
) -> str:
    """Returns the model card of an export, in Markdown.

    Args:
        run: The run.
        trained: Its generator.
        spec: Of the images that it makes.
        manifest: What ``export.json`` holds.
        usage: Python with the fields ``noise_shape``, ``classes``, ``channels`` and ``size``.
        licence: Of the weights; empty: none is stated.
    """
    names = list(trained.class_names)
    family, tag = card.family(trained)
    kind = "class-conditional" if trained.conditional else "unconditional"
    article = "A" if trained.conditional else "An"
    task = "" if trained.conditional else "unconditional-image-generation"  # hubs have no task that takes a class
    noise_shape = ", ".join(map(str, manifest["inputs"]["noise"][1:-1]))
    code = usage.format(
        noise_shape=noise_shape,
        classes=spec.num_classes,
        channels=spec.channels,
        size=spec.size,
    )
    labels = (
        f"`labels`: int64 (B,), 0 to {spec.num_classes - 1}: {', '.join(names)}"
        if trained.conditional
        else "`labels`: int64 (B,), zeros; this generator is not conditional and does not look at them"
    )
    return "\n".join(
        [
            *card.front_matter(licence, task, [tag, f"{kind}-image-generation", "federated-learning", "fedgan"]),
            f"# Generator of {card.data_name(trained)} ({spec.size}x{spec.size}, {card.colour(spec.channels)})",
            "",
            f"{article} {kind} {family}, trained by federated learning: {trained.config.federation.num_clients} "
            f"clients kept their images, and {_exchanged(trained)}. Exported from round {trained.round} of the run "
            f"`{run.name}` by {provenance.software()}.",
            "",
            "## Use",
            "",
            "```python",
            code,
            "```",
            "",
            f"- `noise`: float32 (B, {noise_shape}), drawn from a standard normal",
            f"- {labels}",
            f"- result: float32 (B, {spec.channels}, {spec.size}, {spec.size}) in [-1, 1]; B is any number",
            "- `reference.npz` holds noise, labels, and the images (bytes) that must come of them.",
            "",
            "## Files",
            "",
            *_files(manifest),
            "",
            *card.training(run, trained),
            *card.scores(run, trained, names),
            "## Privacy",
            "",
            card.privacy(run, trained),
            "",
            *card.limits(),
            *card.licence_of(licence, trained),
            f"SHA-256 of the weights: `{trained.digest}`",
            "",
        ]
    )


def _files(manifest: Mapping[str, Any]) -> list[str]:
    lines = [
        "| file | weights | kB | bytes equal | largest difference | fid | loss in fid |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in manifest["files"]:
        agreement = row["agreement"]
        fid = "" if row["fid"] is None else f"{row['fid']:.4g}"
        loss = "" if row["fid-loss"] is None else f"{row['fid-loss']:+.3g}"
        lines.append(
            f"| `{row['file']}` | {row['precision']} | {row['bytes'] / 1000:,.0f} | {_share(agreement['equal'])} | "
            f"{agreement['largest']:.2g} | {fid} | {loss} |"
        )
    first = manifest["files"][0]["agreement"]["images"]
    measured = manifest["fid"]
    lines += [
        "",
        f"Compared with the run's own generator on {first} images of the same noise, in batches of several sizes: "
        f"the share of pixels whose bytes are equal, and the largest difference in [-1, 1] (float32: at most "
        f"{manifest['tolerance']:g}, or it is not written). float16 and int8 say how weights are stored; they are "
        "computed with in float32, so these files are smaller and not faster.",
    ]
    if measured["own"] is None:
        lines.append(f"fid was not measured: {measured['reason']}.")
    else:
        lines.append(
            f"fid on {measured['images']:,} images of the same noise, where the run's own generator has "
            f"{measured['own']:.4g}; fewer images give a higher fid, so compare within this table only."
        )
    return lines


def _share(equal: float) -> str:
    return "all" if equal == 1 else f"{100 * equal:.3f} %"


def _exchanged(trained: LoadedGenerator) -> str:
    return f"`{trained.config.algorithm.partition(' ')[0]}` made one generator of what they learned"
