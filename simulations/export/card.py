"""What every card tells someone who is handed a generator or its images, and has never seen the run."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from common.metrics import Names, table
from common.metrics.membership import MEMBERSHIP
from common.metrics.memorisation import MEMORISATION
from server.checkpoint import COMPRESSED
from server.records import journal
from server.records.generator_weak_spots import client_names, weak_spots
from server.records.privacy_words import ledger_of, publishable, sentence
from server.records.run_directory import RunDirectory
from server.records.scored_with import scored_with_words
from simulations.runs import provenance
from simulations.runs.generator import LoadedGenerator

_MOST_CLIENTS = 50
_NOUNS = {"text": "rows of text"}
_WORDS = {"text": ("text", "texts")}
_SUMS = {"text": "what the model expects of held-out characters"}
_PRIVACY = """- Training {many} never left their clients. Clients and server exchanged {exchanged}.
- This is **{promise}**: no bound is proven on what weights tell of a single
  training {one}, and a generator can repeat {many} that it was trained on. Compare its {many} with the training {many}
  before you publish either, where those are sensitive.
- {memorisation}"""

_PROMISE = """- Training {many} never left their clients. {said}
- The generator, and all that is made with it, is covered by the same bound. {whose} The rest of what left the clients
  is listed by `fedgan privacy RUN`.
- {seen}.
- {memorisation}"""


def facts(run: RunDirectory, trained: LoadedGenerator) -> dict[str, Any]:
    """Returns what identifies a generator: program, run, round, weights, and what it was trained on."""
    config = trained.config
    return {
        "made-by": provenance.software(),
        "run": run.name,
        "round": trained.round,
        "rounds": config.federation.num_rounds,
        "model-sha256": trained.digest,
        "model": config.model,
        "algorithm": config.algorithm,
        "data": config.data.name,
        "split": config.partition,
        "clients": config.federation.num_clients,
        "seed": config.seed,
        **({COMPRESSED: trained.compressed} if trained.compressed else {}),
        **({"privacy": config.privacy_component.spec()} if config.privacy_component.private else {}),
    }


def noun_of(trained: LoadedGenerator) -> str:
    """Returns what clients hold, in the plural."""
    return _NOUNS.get(trained.spec.kind, trained.spec.kind)


def _words(trained: LoadedGenerator) -> tuple[str, str]:
    """Returns what one example is called, and what several are."""
    return _WORDS.get(trained.spec.kind, ("image", "images"))


def family(trained: LoadedGenerator) -> tuple[str, str]:
    """Returns the kind of the model, as a sentence names it, and as a tag of a hub."""
    name = trained.config.model_component.family
    return name, name.lower().replace(" ", "-")


def cell(text: str) -> str:
    """Returns text as it may stand in a table of Markdown."""
    return " ".join(text.split()).replace("|", "\\|")


def front_matter(licence: str, task: str, tags: Sequence[str]) -> list[str]:
    """Returns the metadata that model and data hubs read."""
    name = licence or "other"
    quoted = name if name.replace("-", "").replace(".", "").isalnum() else json.dumps(name)
    key = [f"pipeline_tag: {task}"] if "generation" in task else [f"task_categories: [{task}]"] if task else []
    return ["---", f"license: {quoted.lower()}", *key, f"tags: [{', '.join(tags)}]", "---", ""]


def of_generator(run: RunDirectory, trained: LoadedGenerator, licence: str) -> list[str]:
    """Returns what a card says of a generator itself: training, scores, privacy, limits and licence."""
    return [
        *training(run, trained),
        *scores(run, trained, trained.class_names),
        "## Privacy",
        "",
        privacy(run, trained),
        "",
        *limits(trained),
        *licence_of(licence, trained),
    ]


def training(run: RunDirectory, trained: LoadedGenerator) -> list[str]:
    """Returns what it was trained on, how, and who held what."""
    config, noun = trained.config, noun_of(trained)
    is_of_clients = config.privacy_component.unit == "client"
    weighting = "all clients alike, by the promise of privacy" if is_of_clients else f"weighting `{config.weighting}`"
    lines = [
        "## Training",
        "",
        "| | |",
        "|---|---|",
        f"| data | `{config.data.name}` ({_origin(trained)}) |",
        f"| split | `{config.partition}` over {config.federation.num_clients} clients |",
        f"| rounds | {trained.round} of {config.federation.num_rounds}, {config.local.steps} local steps of "
        f"{config.local.batch_size} {noun} each |",
        f"| algorithm | `{config.algorithm}`; aggregate `{config.aggregate}`, {weighting} |",
        f"| objective | `{config.objective}` |",
        f"| model | `{config.model}` |",
        f"| seed | {config.seed} |",
        *([f"| compressed | without data, from {trained.compressed} |"] if trained.compressed else []),
        "",
    ]
    clients, names = _clients(run), Names(clients=client_names(run.read_partition()))
    if is_of_clients:
        lines += [
            f"{len(clients)} clients; who they are and what each holds is left out, by the run's promise.",
            "",
        ]
    elif clients:
        counts = [client["num-examples"] for client in clients]
        few, many = min(counts), max(counts)
        each = f"{few:,} {noun} each" if few == many else f"{few:,} to {many:,} {noun}"
        lines.append(f"{len(clients)} clients with {each}, {sum(counts):,} in all:")
        lines += ["", f"| client | {noun} | of each class |", "|---|---|---|"]
        for client in clients[:_MOST_CLIENTS]:
            known = client["label-counts"]
            of_classes = "kept to itself" if known is None else " ".join(f"{count}" for count in known)
            called = names.of_client(client["partition"])
            lines.append(f"| {called} | {client['num-examples']:,} | {of_classes} |")
        if len(clients) > _MOST_CLIENTS:
            lines.append(f"| ... | | {len(clients) - _MOST_CLIENTS} more |")
        lines.append("")
    return lines


def scores(run: RunDirectory, trained: LoadedGenerator, names: Sequence[str]) -> list[str]:
    """Returns the scores of this very round: those of the summary, of the journal, or that there are none."""
    record: Mapping[str, Any] = run.read_summary()
    if record.get("rounds") == trained.round:
        when = "at the run's end"
    else:
        lines = journal.read(run.journal)
        record = next((line for line in lines if line["round"] == trained.round), {})
        when = f"after round {trained.round}"
    found = publishable(trained.config, record.get("scores", {}))
    known = [score for score in table.figures().values() if isinstance(found.get(score.name), float)]
    if not known:
        return ["## Scores", "", f"Round {trained.round} was not scored.", ""]
    rows = [f"| {score.name} | {found[score.name]:.4g} | {score.meaning} |" for score in known]
    words = weak_spots(found, names, run.read_partition())
    return [
        "## Scores",
        "",
        f"Measured {when}: {_made_with(record)}.",
        "",
        "| | | |",
        "|---|---|---|",
        *rows,
        "",
        *words,
        *([""] if words else []),
    ]


def _made_with(record: Mapping[str, Any]) -> str:
    words = scored_with_words(record.get("scored-with"))
    warning = (record.get("scored-with") or {}).get("warning", "")
    return f"{words}. **Note**: {warning.removesuffix('.')}" if warning else words


def privacy(run: RunDirectory, trained: LoadedGenerator) -> str:
    """Returns what is known, and what is not, of what the weights tell of the training images."""
    found = run.read_summary().get("scores", {})
    one, many = _words(trained)
    clients = Names(clients=client_names(run.read_partition()))
    if trained.config.privacy_component.private:
        memorisation = (
            "What is measured on clients' own data, as by an audit, is left out, as no noise is in it: `fedgan audit "
            "RUN` tells it to those who hold the data."
        )
    elif measured := MEMORISATION.weak_spots(found, clients) + MEMBERSHIP.weak_spots(found, clients):
        words = " ".join(measured)
        memorisation = f"Memorisation was measured, with {noun_of(trained)} that were not trained on. {words}"
    else:
        memorisation = (
            f"Whether it repeats training {many} was **not measured** in this run (`evaluation.holdout`, "
            "`fedgan audit`)."
        )
    memorisation += "".join(f"\n- {step.caveat}" for step in trained.config.pipeline.steps if step.caveat)
    sums_alone = trained.config.aggregator.sums_alone
    ledger = ledger_of(run) if trained.config.privacy_component.private else None
    if said := ledger and ledger.summary():
        seen = (
            "Under secure aggregation the server has seen sums of clients' updates alone"
            if sums_alone
            else "There is no secure aggregation: the server has seen each client's weights"
        )
        if said["unit"] == "client":
            whose = f"It is for each client with all its {many}: what many clients have in common is learned."
        else:
            whose = (
                f"It is for each single training {one}: what many {many} have in common is learned, and {many} that "
                "stand in the data several times are protected less."
            )
            seen = f"{seen}, with their noise"
        return _PROMISE.format(said=sentence(said), seen=seen, memorisation=memorisation, whose=whose, many=many)
    promise = "neither secure aggregation nor differential privacy"
    if sums_alone:
        promise = "secure aggregation, with which the server saw sums of updates alone, and not differential privacy"
    sent = _sent(run, trained)
    return _PRIVACY.format(exchanged=sent, promise=promise, memorisation=memorisation, one=one, many=many)


def _sent(run: RunDirectory, trained: LoadedGenerator) -> str:
    disclosed = any(client["label-counts"] is not None for client in _clients(run))
    noun = noun_of(trained)
    counts = f", numbers of {noun} of each class" if disclosed else ""
    what = _SUMS.get(trained.spec.kind, "features of the images")
    moments = f", sums of {what}" if trained.config.evaluation.federated else ""
    return f"weights or gradients of networks{counts}{moments}, numbers of {noun} and losses"


def limits(trained: LoadedGenerator) -> list[str]:
    """Returns what not to use it for."""
    _, many = _words(trained)
    return [
        "## Limits",
        "",
        f"The generator knows nothing but its clients' {many}, with their gaps and biases, and clients with more "
        "of them count for more where the weighting says so. Scores do not see everything: a high one is no proof "
        "that rare variants are there. Not for decisions about people.",
        "",
    ]


def licence_of(licence: str, trained: LoadedGenerator) -> list[str]:
    """Returns the stated licence, and that of the training data."""
    _, many = _words(trained)
    stated = licence or f"None is stated: whoever ran the federation decides, together with the owners of the {many}"
    return ["## Licence", "", f"{stated}. Training data: {_origin(trained)}.", ""]


def _origin(trained: LoadedGenerator) -> str:
    source = trained.config.source
    return source.source if source.is_public else f"the clients' own {_words(trained)[1]}"


def _clients(run: RunDirectory) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run.read_partition().get("clients", [])
    return found


def data_name(trained: LoadedGenerator) -> str:
    """Returns the name of the data set, without its options."""
    return trained.config.data.name.partition(" ")[0]


def colour(channels: int) -> str:
    """Returns what the images' channels are."""
    return "grey" if channels == 1 else "colour"
