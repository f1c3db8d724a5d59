"""The roll call: what a client says of itself before the first round, and what it is asked."""

from dataclasses import dataclass, field

from flwr.app import ConfigRecord, RecordDict

from common.errors import ProtocolError
from common.examples import ExampleSpec
from common.wire.fields import LONGEST_NAME, META, PROTOCOL, integer, integers, meta_of, spec_fields, spec_of, strings

_LONGEST_KEY = 64  # hexadecimal digits
SEED, SYSTEM = "seed", "system"
"""Where noise comes from: the run's seed, so that the same task gives the same noise; or the client's system, anew each
time."""


@dataclass(frozen=True)
class RollCall:
    """What a client says of itself, once, before the first round.

    Attributes:
        partition: The client's partition id, from 0.
        num_partitions: Partitions in the client's view of the federation.
        num_examples: Images that the client holds.
        label_counts: Images of each class; None from a site that keeps them to itself, or was not asked, and under a
            promise of privacy.
        spec: Of the examples, and the number of classes.
        class_names: What each label means; sites must agree, or one's cats are another's dogs.
        data_digest: Of examples and labels (first 16 hex digits of a SHA-256): a resumed run must find the same ones.
            Empty under a promise of privacy: it would tell examples that somebody guesses from all others.
        fingerprint: Of the source code that the client runs (``source_fingerprint``).
        without_moments: Why the site will send no moments of its examples' features; empty: it will.
        site: What people call the client; empty: it has no name. Says nothing of who it is.
        noise: Where the noise of a promise of privacy comes from: ``SEED`` or ``SYSTEM``; empty: there is none.
        site_key: Public half of the site's long-lived key, in hexadecimal digits, where the run needs one and it lasts.
    """

    partition: int
    num_partitions: int
    num_examples: int
    label_counts: tuple[int, ...] | None
    spec: ExampleSpec
    class_names: tuple[str, ...]
    data_digest: str
    fingerprint: str
    without_moments: str = field(default="", compare=False)
    site: str = field(default="", compare=False)
    noise: str = ""
    site_key: str = ""

    @property
    def label(self) -> str:
        """How messages to people name the client: by its name where it has one, and its partition id."""
        if not self.site:
            return f"partition {self.partition}"
        return f"{'' if self.site.lower().startswith('site') else 'site '}{self.site} (partition {self.partition})"


def check_site_name(name: str) -> str:
    """Returns a site's name if people can read it in one line.

    Raises:
        ValueError: It is too long, or has characters that cannot be printed, or spaces at its ends.
    """
    if len(name) > LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise ValueError(f"a site's name has at most {LONGEST_NAME} printable characters, and no space at its ends")
    return name


def site_name(text: str) -> str:
    """Returns any text as a site's name that ``check_site_name`` accepts: printable, and shortened if it is long."""
    name = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1].rstrip()}…"


def encode_roll_call_request(label_counts: bool) -> RecordDict:
    """Returns the content of the server's roll call.

    Args:
        label_counts: Whether the run needs to know how many examples of each class a client holds.
    """
    return RecordDict({META: ConfigRecord({"protocol": PROTOCOL, "label-counts": label_counts})})


def decode_roll_call_request(content: RecordDict) -> bool:
    """Returns whether the roll call asks for label counts.

    Raises:
        ProtocolError: Another protocol version, or no word on it.
    """
    needed = meta_of(content).get("label-counts")
    if not isinstance(needed, bool):
        raise ProtocolError(f"label-counts is {needed!r}, not true or false")
    return needed


def encode_roll_call(value: RollCall) -> RecordDict:
    """Returns a client's answer to the roll call."""
    meta = ConfigRecord(
        {
            "protocol": PROTOCOL,
            "partition": value.partition,
            "num-partitions": value.num_partitions,
            "num-examples": value.num_examples,
            **spec_fields(value.spec),
            "class-names": list(value.class_names),
            "data-digest": value.data_digest,
            "fingerprint": value.fingerprint,
            "without-moments": value.without_moments,
            "site": value.site,
            "noise": value.noise,
            "site-key": value.site_key,
        }
    )
    if value.label_counts is not None:
        meta["label-counts"] = list(value.label_counts)
    return RecordDict({META: meta})


def decode_roll_call(content: RecordDict) -> RollCall:
    """Returns what the client said.

    Raises:
        ProtocolError: Another protocol version, or a field that is missing or of another type.
    """
    meta = meta_of(content)
    spec = spec_of(meta)
    if spec is None:
        raise ProtocolError("examples is missing: a client describes what it holds")
    try:
        site = check_site_name(str(meta.get("site", "")))
    except ValueError as error:
        raise ProtocolError(f"site is {str(meta['site'])[:80]!r}: {error}") from None
    if (noise := str(meta.get("noise", ""))) not in ("", SEED, SYSTEM):
        raise ProtocolError(f"noise is {noise[:80]!r}, neither {SEED!r} nor {SYSTEM!r}")
    return RollCall(
        partition=integer(meta, "partition"),
        num_partitions=integer(meta, "num-partitions"),
        num_examples=integer(meta, "num-examples"),
        label_counts=tuple(integers(meta, "label-counts")) if "label-counts" in meta else None,
        spec=spec,
        class_names=tuple(strings(meta, "class-names")),
        data_digest=str(meta.get("data-digest", "")),
        fingerprint=str(meta.get("fingerprint", "")),
        without_moments=str(meta.get("without-moments", "")),
        site=site,
        noise=noise,
        site_key=str(meta.get("site-key", ""))[:_LONGEST_KEY],
    )
