"""Which configuration key is meant by a word that is none: for error messages."""

import difflib
from collections.abc import Collection, Mapping

from common.components import Component

_OTHER_WORDS = {
    "seed": "random-seed rng",
    "model": "network architecture arch gan generator",
    "objective": "loss criterion",
    "algorithm": "strategy method",
    "aggregate": "aggregator aggregation",
    "transforms": "compress compression quantize quantise clip noise dp differential-privacy",
    "partition": "split partitioner distribution",
    "hooks": "hook callback callbacks round-hooks",
    "tracking": "tracker logger tensorboard wandb mlflow",
    "data.name": "dataset data data-set data-name",
    "data.root": "data-dir data-path data-folder dataset-dir dataset-path",
    "data.image-size": "img-size size resolution",
    "federation.num-clients": "clients n-clients sites num-sites nodes num-supernodes users",
    "federation.num-rounds": "rounds n-rounds epochs num-epochs num-server-rounds iterations",
    "federation.fraction": "fraction-fit fraction-train client-fraction participation sample-rate",
    "federation.patience": "early-stopping early-stop",
    "federation.round-seconds": "timeout round-timeout",
    "local.steps": "local-epochs steps-per-round",
    "local.batch-size": "batch bs batchsize",
    "local.learning-rate": "lr rate generator-lr lr-g g-lr learning-rate-g",
    "local.adversary-learning-rate": "discriminator-lr lr-d d-lr learning-rate-d",
    "local.mixed-precision": "amp fp16 bf16 half",
    "local.num-threads": "threads",
    "evaluation.every": "eval-every evaluate-every",
    "evaluation.num-samples": "fid-images num-samples",
    "output.dir": "output out out-dir outdir run-dir save-dir log-dir logdir results-dir",
}
_MEANT = {word: key for key, words in _OTHER_WORDS.items() for word in words.split()}


def nearest(word: str, known: Collection[str], most: int = 3) -> list[str]:
    """Returns the dotted keys that a word may stand for, the likeliest first; empty if it is like none.

    A key's last part stands for it (``num-rounds``), and so do words of other programs (``epochs``).

    Args:
        word: What was written, with ``-`` or ``_``.
        known: Every dotted key.
        most: How many at most.
    """
    if exact := meant(word, known):
        return exact[:most]
    plain, last = _plain(word)
    names = {name: key for key in known for name in (key, key.rpartition(".")[2])} | {
        other: key for other, key in _MEANT.items() if key in known
    }
    names = {name: key for name, key in names.items() if len(name) > 3}  # shorter ones are like anything
    tried = [*difflib.get_close_matches(plain, names, n=2 * most, cutoff=0.7)]
    tried += difflib.get_close_matches(last, names, n=2 * most, cutoff=0.7)
    return list(dict.fromkeys(names[name] for name in tried))[:most]


def _plain(word: str) -> tuple[str, str]:
    """Returns a word as keys are written, and its last part."""
    plain = word.lower().strip("-").replace("_", "-")
    return plain, plain.rpartition(".")[2]


def meant(word: str, known: Collection[str]) -> list[str]:
    """Returns the keys that a word stands for letter by letter: itself, its last part, another word, or a section."""
    plain, last = _plain(word)
    other = _MEANT.get(plain) or _MEANT.get(last)
    ways = (
        [key for key in known if plain in (key, key.replace(".", "-"))],
        [other] if other and other in known else [],
        [key for key in known if last == key.rpartition(".")[2]],
        [key for key in known if key.startswith(f"{plain}.")],
    )
    return next((found for found in ways if found), [])


def hint(key: str, value: object, known: Collection[str], tables: Mapping[str, Mapping[str, type[Component]]]) -> str:
    """Returns what to write in place of a key that is not known.

    Args:
        key: What was written.
        value: Its value.
        known: Every dotted key.
        tables: Of components, by the key that picks from each.
    """
    head, _, last = _plain(key)[0].rpartition(".")
    for kind, table in tables.items() if head or not meant(key, known) else ():
        owners = [name for name, component in table.items() if _has_option(component, last)]
        if owners and head in ("", kind):
            return f'{last!r} is an option of {kind}, and stands in its value: {kind}="{owners[0]} {last}={value}"'
    found = nearest(key, known)
    if not found:
        return "fedgan config lists every key"
    return f"did you mean {' or '.join(repr(one) for one in found)}?"


def _has_option(component: type[Component], name: str) -> bool:
    return any((field.alias or key) == name for key, field in component.model_fields.items())
