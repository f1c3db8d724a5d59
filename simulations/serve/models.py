"""Generators in memory: each loaded once, and again when a newer checkpoint lands."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from common.errors import CheckpointError, ConfigError
from common.examples.images import denormalise, normalise
from common.generation import Mixture, balanced_labels
from common.models import Sampler
from common.models.tokens import TextSampler
from common.seeding import torch_generator
from common.writing import padded_pass
from server import checkpoint
from server.records import model_selection
from simulations.runs.generator import LoadedGenerator, load_trained
from simulations.runs.run_reader import RunReader

ROWS = 64
"""Images of a forward pass, always: a result's last bits may depend on how many there are."""

Which = int | Literal["best", "last"]
_MOST_LOADED = 8
_MOST_WRITERS = 32
_TICK = 2.0  # seconds, of the coarsest clock of a file system


class _File(NamedTuple):
    """A checkpoint file: of which round, whether the last one is meant whatever its round, and what tells it apart."""

    round: int
    is_last: bool
    mark: tuple[int, int, int] | None


class Maker(Protocol):
    """What makes examples, a pass at a time."""

    @property
    def joins(self) -> bool:
        """Whether examples of several requests may be made in one pass, to the same bits as alone."""

    def make(self, *rows: Tensor, on_step: Callable[[], None]) -> tuple[Tensor, Tensor]:
        """Returns examples as they are stored, (n, ...), and whether each was finite, bool (n,).

        Args:
            rows: What they are made of: noise, labels and whatever else, n rows of each, n at most ``ROWS``.
            on_step: Called now and then in a long pass; what it raises ends the pass.
        """


@dataclass(frozen=True, eq=False)
class Network:
    """A generator that is ready to make images.

    Attributes:
        trained: The generator, with what it takes to use it.
        joins: Whether images of several requests may be made in one pass, to the same bits as alone (``rows_apart``).
    """

    trained: LoadedGenerator
    joins: bool
    _writers: "OrderedDict[Hashable, Writer]" = field(default_factory=OrderedDict, repr=False)

    def adapted(self, temperature: float | None, top_p: float | None) -> "Writer":
        """Returns what writes texts with these options: one for the same ones, so that requests may be joined."""
        key = (temperature, top_p)
        writer = self._writers.get(key)
        if writer is None:
            writer = Writer(self.trained.generator.adapted(temperature=temperature, top_p=top_p), self, key)
            self._writers[key] = writer
            while len(self._writers) > _MOST_WRITERS:
                self._writers.popitem(last=False)
        return writer

    @property
    def noise_size(self) -> int:
        """The length of a noise vector: the numbers of the noise that an example is made of."""
        return math.prod(self.trained.generator.noise_shape)

    @torch.inference_mode()
    def make(self, *rows: Tensor, on_step: Callable[[], None] = lambda: None) -> tuple[Tensor, Tensor]:
        """Returns images uint8 (n, C, S, S), and whether each was finite, bool (n,); the pass has ``ROWS`` rows.

        Args:
            rows: Noise, float32 (n, Z), n at most ``ROWS``, and labels, int64 (n,).
            on_step: Not called: a pass is short.
        """
        noise, labels = rows
        noise = noise.reshape(len(noise), *self.trained.generator.noise_shape)
        made = _padded_pass(self.trained.generator, noise, labels)
        return denormalise(made), made.flatten(1).sum(1).isfinite()  # a tenth of the time of looking at each number

    @torch.inference_mode()
    def trust(self, images: Tensor, labels: Tensor) -> Tensor:
        """Returns the adversary's logits, float32 (N,), of images uint8 (N, C, S, S); higher looks more real.

        Raises:
            ConfigError: The checkpoint has no adversary.
        """
        adversary = self.trained.adversary
        if adversary is None:
            raise ConfigError("this run has no adversary on the server: leave keep out")
        chunks = zip(torch.split(normalise(images), ROWS), torch.split(labels, ROWS), strict=True)
        return torch.cat([_padded_pass(adversary, *chunk) for chunk in chunks])


@dataclass(frozen=True, eq=False)
class Writer:
    """A model of text with options of sampling, that is ready to write; see ``Maker``.

    Attributes:
        sampler: Writes.
        network: The model without these options.
        options: Temperature and probability mass, as ``Network.adapted`` takes them.
    """

    sampler: Sampler
    network: Network
    options: tuple[float | None, float | None]

    @property
    def joins(self) -> bool:
        """See ``Network``."""
        return self.network.joins

    @torch.inference_mode()
    def make(self, *rows: Tensor, on_step: Callable[[], None] = lambda: None) -> tuple[Tensor, Tensor]:
        """Returns texts as they are stored, int32 (n, T), of noise (n, T), labels (n,) and prompts (n, P)."""
        tokens = padded_pass(self.sampler, *rows, on_step=on_step)
        return self.sampler.spec.to_stored(tokens).cpu(), torch.ones(len(tokens), dtype=torch.bool)


def _padded_pass(network: nn.Module, values: Tensor, labels: Tensor) -> Tensor:
    rows = values.new_zeros(ROWS, *values.shape[1:])
    rows[: len(values)] = values
    row_labels = labels.new_zeros(ROWS)
    row_labels[: len(labels)] = labels
    result: Tensor = network(rows, row_labels)
    return result[: len(values)]


@torch.inference_mode()
def rows_apart(generator: Sampler, num_classes: int) -> bool:
    """Returns whether a row of a full pass is the same to the bit in every place and beside any other rows.

    Nothing in the networks connects rows (``eval`` mode; group norm is of one image), but a library may add in another
    order at the edge of a block of rows. So this is tried on the machine at hand, not believed: random rows in turn
    shifted by all places that are odd, and beside nothing. A mixture is refused untried, as its members see as many
    rows as they are drawn for.
    """
    if isinstance(generator, Mixture):
        return False
    source = torch_generator(0, "serve", "probe")
    noise, labels = torch.randn(ROWS, *generator.noise_shape, generator=source), balanced_labels(ROWS, num_classes)
    tried = _Expectations(generator) if isinstance(generator, TextSampler) else generator
    whole = tried(noise, labels)
    for shift in (1, 7, 31, ROWS // 2 + 1):
        moved = tried(noise.roll(shift, 0), labels.roll(shift, 0))
        if not torch.equal(moved.roll(-shift, 0), whole):
            return False
    few = 3
    return torch.equal(_padded_pass(tried, noise[:few], labels[:few]), whole[:few])


class _Expectations(nn.Module):
    """What a model expects after each of the tokens that noise picks: all bits, of which texts show a few."""

    def __init__(self, sampler: TextSampler) -> None:
        super().__init__()
        self.network = sampler.network

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        tokens = (torch.special.ndtr(noise) * self.network.spec.num_tokens).long()
        state, expected = self.network.begin(labels), []
        for column in tokens.T:
            logits, state = self.network.advance(column, labels, state)
            expected.append(logits)
        return torch.stack(expected, dim=1)


class Models:
    """The generators in use, the least recently used dropped."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[Hashable, Network] = OrderedDict()
        self._files: dict[Hashable, tuple[object, _File]] = {}
        self._lock = threading.Lock()
        self.loads = 0

    def get(self, record: RunReader, which: Which, client: int | None) -> Network:
        """Returns a run's generator of a round: that of its newest checkpoint file of the moment.

        ``best`` is the last one where no round has a fid, and of a client's own generators.

        Raises:
            ConfigError: No such round, or no such generator.
            CheckpointError: No checkpoint that is whole.
        """
        if client is not None and which == "best":
            which = "last"
        for again in (True, False):
            file = self._file(record, which)
            key = (record.name, client, file.round, file.mark)
            with self._lock:  # also while one is loaded, so that it is loaded once
                if key in self._loaded:
                    self._loaded.move_to_end(key)
                    return self._loaded[key]
                try:
                    trained = load_trained(record.run.path, None if file.is_last else file.round, client)
                except (ConfigError, CheckpointError):
                    if again and self._file(record, which) != file:
                        continue  # the run has just replaced the file
                    raise
                return self._keep(key, trained)
        raise CheckpointError(f"the checkpoints of {record.name} change faster than they can be read: ask again")

    def _keep(self, key: Hashable, trained: LoadedGenerator) -> Network:
        joins = rows_apart(trained.generator, trained.spec.num_classes)
        network = self._loaded[key] = Network(trained, joins)
        self.loads += 1
        while len(self._loaded) > _MOST_LOADED:
            self._loaded.popitem(last=False)
        return network

    def _file(self, record: RunReader, which: Which) -> _File:
        """Returns the checkpoint file that is meant; it is looked for only where the run has changed."""
        key, state = (record.name, which), _state_of(record)
        known = self._files.get(key)
        if known is not None and state is not None and known[0] == state:
            return known[1]
        paths = {checkpoint.round_of(path): path for path in checkpoint.list_checkpoints(record.run.checkpoints)}
        if not paths:
            raise CheckpointError(f"run {record.name!r} has no checkpoint yet: ask again when a round is done")
        best = model_selection.best(record.view().lines) if which == "best" else None
        is_last = which == "last" or (which == "best" and best is None)
        round = max(paths) if is_last else int(best["round"] if best else which)
        if round not in paths:
            kept = ", ".join(map(str, paths))
            raise ConfigError(f"run {record.name!r} has no checkpoint of round {round}; rounds with one: {kept}")
        found = _File(round, is_last, _mark(paths[round]))
        self._files[key] = (state, found)
        return found


def _state_of(record: RunReader) -> object:
    """Returns what is another when a checkpoint lands or a round is noted.

    None where the last change is so new that the next one may have the same time by the file system's clock.
    """
    marks = [_mark(record.run.checkpoints), _mark(record.run.journal)]
    if any(mark is None or time.time() - mark[1] / 1e9 < _TICK for mark in marks):
        return None
    return marks


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Returns inode, time in nanoseconds and size; None if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)
