"""A client's private examples: a site's own, or its part of a data set that is split over the simulated clients."""

import functools
import hashlib
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.site import Site
from common import components, wire
from common.audit import Canaries, with_canaries
from common.config import RunConfig
from common.config_sections import DataConfig
from common.datasets import DATASETS, DataSource, load_once
from common.datasets.base import Dataset, announced, stratified_split
from common.datasets.folders import scan
from common.datasets.remarks import Remarks
from common.errors import ConfigError
from common.examples import SETS, ExampleSet, ExampleSpec
from common.files import replacing, write_atomically
from common.folds import Fold, folded, folds_of_split, groups_of
from common.partitioners import Partitioner, partition

log = logging.getLogger("fedgan.client")

_LOCK = threading.Lock()


@dataclass(frozen=True, eq=False)
class Shard:
    """The examples that one client trains on.

    Attributes:
        examples: With their labels.
        class_names: What each label means.
        held_out: Images that nobody trains on, to test memorisation with; None without ``evaluation.holdout`` and
            ``evaluation.folds``.
        test: What the data hold out of the sources of the examples, or the fold; None where the data name no sources.
        name: What people call the source of the examples; empty: they are of several, or the data do not name any.
        canaries: Those of ``evaluation.canaries``; what is trained on of them stands at the end of ``examples``.
    """

    examples: ExampleSet
    class_names: tuple[str, ...]
    held_out: ExampleSet | None = None
    test: ExampleSet | None = None
    name: str = ""
    canaries: Canaries | None = None

    @property
    def spec(self) -> ExampleSpec:
        """Of every example, and the number of classes."""
        return self.examples.spec(len(self.class_names))

    def digest(self) -> str:
        """Returns the first 16 hex digits of a SHA-256 of examples and labels."""
        return self.examples.digest()


def shard(config: RunConfig, site: Site) -> Shard:
    """Returns the examples of one client.

    Raises:
        ConfigError: There is no such partition, or the data cannot be split as asked.
        DataError: The data set cannot be read.
    """
    num_clients = config.federation.num_clients
    if site.partition_id >= num_clients:
        raise ConfigError(
            f"partition-id={site.partition_id}: federation.num-clients={num_clients} has 0 to {num_clients - 1}"
        )
    if site.data and config.evaluation.canaries:
        raise ConfigError(
            f"evaluation.canaries={config.evaluation.canaries}: a site's own examples take no canaries, which are for "
            "simulations: set evaluation.canaries=0"
        )
    with _LOCK:  # clients in threads share one copy
        if site.data:
            keeps_all = config.promise_of_examples is not None
            whole = _own(site.data, config.data.image_size, site.state_path, keeps_all)
            if config.evaluation.folds:
                return _with_fold(whole, config, site.partition_id)
        else:
            data = load(config.data)
            rows = split(config)[site.partition_id]
            if config.evaluation.folds:
                fold = _folds(config)[site.partition_id]
                return _of_fold(config, data, rows, fold)
            held_out, name = _test(config, site.partition_id), source_name(config.partitioner, data, rows)
            whole = Shard(data.train.view(rows), data.class_names, test=held_out, name=name)
    return _with_canaries(_without(whole, config.evaluation.holdout), config, site.partition_id)


def _of_fold(config: RunConfig, whole: Dataset, rows: NDArray[np.int64], fold: Fold) -> Shard:
    """Returns what a simulated client trains on, and holds out, in a fold."""
    held_out = whole.train.view(fold.held_out) if len(fold.held_out) else None
    return Shard(
        whole.train.view(fold.trained),
        whole.class_names,
        held_out,
        held_out if whole.train_sources is not None else None,
        source_name(config.partitioner, whole, rows),
    )


def _with_fold(own: Shard, config: RunConfig, partition: int) -> Shard:
    """Returns what a site trains on of its own examples, and holds out, in a fold."""
    (fold,) = folded(own.examples, [np.arange(len(own.examples))], config, first=partition)
    held_out = own.examples.subset(fold.held_out) if len(fold.held_out) else None
    test = held_out if own.test is not None else None
    return replace(own, examples=own.examples.subset(fold.trained), held_out=held_out, test=test)


def _with_canaries(whole: Shard, config: RunConfig, partition: int) -> Shard:
    """Returns the shard with the canaries of ``evaluation.canaries`` in it; the same where there are none."""
    if not config.evaluation.canaries:
        return whole
    examples, canaries = with_canaries(whole.examples, whole.spec, config.evaluation.canaries, config.seed, partition)
    return replace(whole, examples=examples, canaries=canaries)


def _without(whole: Shard, share: float) -> Shard:
    """Returns the shard with a share of each class held out; all of it for a share of 0, or where it is one example."""
    if not share or len(whole.examples) < 2:
        return whole
    trained, held_out = stratified_split(whole.examples.labels.numpy(), share)
    return replace(whole, examples=whole.examples.subset(trained), held_out=whole.examples.subset(held_out))


@functools.lru_cache(maxsize=2)
def load(config: DataConfig) -> Dataset:
    """Returns the whole data set; kept in memory, as one process may serve many clients."""
    source = RunConfig(data=config).source
    return load_once(source, Path(config.root).expanduser(), image_size=config.image_size)


def split(config: RunConfig) -> list[NDArray[np.int64]]:
    """Returns the indices of each client's examples: a function of data, partition, number of clients and seed."""
    return _split(config.data, config.partition, config.federation.num_clients, config.seed)


@functools.lru_cache(maxsize=2)
def _split(data: DataConfig, spec: str, num_clients: int, seed: int) -> list[NDArray[np.int64]]:
    partitioner, whole = RunConfig(partition=spec).partitioner, load(data)
    if partitioner.needs_labels and not whole.labelled:
        raise ConfigError(
            f"partition={partitioner.component_name()!r} splits by label, and {whole.name} has none: set"
            ' partition="iid" or partition="quantity"'
        )
    return partition(partitioner, groups_of(partitioner, whole), num_clients, seed)


@functools.lru_cache(maxsize=2)
def _folds(config: RunConfig) -> list[Fold]:
    """Returns what each client trains on and holds out."""
    whole = load(config.data)
    return folds_of_split(config.partitioner, groups_of(config.partitioner, whole), whole.train, config)


def source_name(partitioner: Partitioner, whole: Dataset, rows: NDArray[np.int64]) -> str:
    """Returns what people call a client that a split by source makes: its source, in one line; else nothing.

    Args:
        partitioner: What makes it.
        whole: What is split.
        rows: The client's training examples.
    """
    if not partitioner.splits_by_source or whole.train_sources is None or not len(rows):
        return ""
    return wire.site_name(whole.source_names[whole.train_sources[rows[0]]])


def _test(config: RunConfig, partition_id: int) -> ExampleSet | None:
    """Returns the examples that the data hold out of a client's sources; None where the data name no sources."""
    shares = _test_shares(config.data, config.partition, config.federation.num_clients, config.seed)
    return load(config.data).test.view(shares[partition_id]) if shares else None


@functools.lru_cache(maxsize=2)
def _test_shares(data: DataConfig, spec: str, num_clients: int, seed: int) -> list[NDArray[np.int64]]:
    """Returns which held-out examples each client has; empty where the data name no sources.

    What is held out of a source is shared out, in one piece each, among the clients that train on examples of it, so
    that nothing is held out by two clients.
    """
    whole = load(data)
    sources, of_test = whole.train_sources, whole.test_sources
    if sources is None or of_test is None:
        return []
    pairs = [np.unique(sources[rows]) for rows in _split(data, spec, num_clients, seed)]
    source, client = np.concatenate(pairs), np.repeat(np.arange(num_clients), [len(own) for own in pairs])
    order = np.argsort(source, kind="stable")
    source, client = source[order], client[order]
    owner = np.full(len(of_test), -1)
    for each in np.unique(of_test):
        clients = client[np.searchsorted(source, each) : np.searchsorted(source, each, "right")]
        if len(clients):
            rows = np.flatnonzero(of_test == each)
            owner[rows] = clients[np.arange(len(rows)) * len(clients) // len(rows)]
    return [np.flatnonzero(owner == partition) for partition in range(num_clients)]


@functools.lru_cache(maxsize=2)
def _own(text: str, image_size: int, state_path: str, keeps_all: bool = False) -> Shard:
    """Returns a site's own examples: the training part of ``SOURCE:PATH``.

    Where the data do not say which part that is, ``keeps_all`` has nothing held out: a promise of privacy is about one
    example more or less, and by a rule that counts examples one would decide which others are trained on.

    With a ``state_path`` the decoded examples are kept there and mapped into memory from then on, as a deployed client
    is a new process every round; they are read anew when a file of the site's has changed.
    """
    source, path = parse_own(text)
    if not state_path:
        return _read(source, path, image_size, keeps_all)
    part = "whole" if keeps_all else "held-out"
    # two SuperNodes may share a state-path, and two runs a site
    place = hashlib.sha256(f"{text}{':whole' if keeps_all else ''}".encode()).hexdigest()[:8]
    key = hashlib.sha256(json.dumps([part, source.spec(), image_size, _listing(path)]).encode()).hexdigest()[:16]
    folder = Path(state_path).expanduser() / "data"
    names = folder / f"{place}-{key}.json"
    if not names.exists():
        read = _read(source, path, image_size, keeps_all)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in folder.glob(f"{place}-*"):
            old.unlink(missing_ok=True)
        examples_of = {"kind": read.examples.kind, "options": read.examples.options()}
        about = examples_of | {"class-names": read.class_names, "has-test": read.test is not None}
        for ending, these in (("", read.examples), ("-test", read.test)):
            if these is not None:
                _save(these, names.with_name(f"{names.stem}{ending}"))
        write_atomically(names, json.dumps(about).encode())  # last: it says that the others are whole
        log.info("%d %s of %s are decoded in %s", len(read.examples), read.examples.kind, text, folder)
    about = json.loads(names.read_text(encoding="utf-8"))
    test = _mapped(about, names.with_name(f"{names.stem}-test")) if about["has-test"] else None
    return Shard(_mapped(about, names.with_suffix("")), tuple(about["class-names"]), test=test)


def _save(examples: ExampleSet, place: Path) -> None:
    for end, array in (("examples", examples.stored), ("labels", examples.labels)):
        with replacing(place.with_name(f"{place.name}-{end}.npy")) as temporary, temporary.open("wb") as stream:
            np.save(stream, array.numpy())


def _mapped(about: Mapping[str, Any], place: Path) -> ExampleSet:
    files = (place.with_name(f"{place.name}-{end}.npy") for end in ("examples", "labels"))
    return SETS[about["kind"]](*(torch.from_numpy(np.load(file, mmap_mode="c")) for file in files), **about["options"])


def parse_own(text: str) -> tuple[DataSource, Path]:
    """Returns source and place of a site's own data, ``"SOURCE option=value ...:PATH"``.

    Raises:
        ConfigError: Another form, an unknown source or option, or a relative path.
    """
    spec, colon, place = text.partition(":")
    path = Path(place).expanduser()
    if not colon or not path.is_absolute():
        raise ConfigError(
            f"data={text!r} in the node configuration is not SOURCE:/ABSOLUTE/PATH, e.g. image-folder:/srv/scans"
        )
    return components.parse("data", DATASETS, spec), path


def _read(source: DataSource, path: Path, image_size: int, keeps_all: bool) -> Shard:
    data = announced(source.load(path, image_size=image_size, download=False))
    if keeps_all and data.parted_by_rule:
        return Shard(data.train.joined(data.test), data.class_names)
    return Shard(data.train, data.class_names, test=None if data.test_sources is None else data.test)


def _listing(path: Path) -> list[tuple[str, int, int]]:
    """Returns name, size and time of every file at ``path``: changes when the data do."""
    files = scan(path, None, Remarks(path)).every() if path.is_dir() else [path]
    status = [(file, file.stat()) for file in files if file.is_file()]
    return [(str(file), found.st_size, found.st_mtime_ns) for file, found in status]
