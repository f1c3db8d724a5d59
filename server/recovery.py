"""What a run goes on from after a stop or a bad round: checkpoints, and which of them are kept."""

import errno
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, runtime_checkable

from common.config import RunConfig
from common.errors import CheckpointError, OtherRunError, OutputError
from common.files import remove_scraps, write_atomically
from server import checkpoint
from server.checkpoint import Checkpoint
from server.checkpoint_writer import CheckpointWriter
from server.clients.live_status import ClientStatus
from server.clients.reply_spill import ReplySpill
from server.clients.roster import Roster
from server.records import journal, model_selection
from server.records.run_directory import RunDirectory
from server.rounds.base import ClientStates, Snapshot

log = logging.getLogger("fedgan.server")

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}


@runtime_checkable
class KeepsClients(Protocol):
    """A grid that holds its simulated clients' memory, so that a checkpoint of the server holds it too.

    Attributes:
        engine: How they are trained, where it costs bits; else empty.
        on_change: Called, in some worker's thread, with a partition that is asked to train, and what it does now.
        spill: Takes their replies.
    """

    engine: str
    on_change: Callable[[int, ClientStatus], None]
    spill: ReplySpill | None

    def client_states(self, rounds: Mapping[int, int]) -> ClientStates:
        """Returns what clients kept after the given round of each, by partition; by reference, not to be written to."""

    def restore_clients(self, states: ClientStates, rounds: Mapping[int, int]) -> None:
        """Gives clients back what they kept after the given round of each; all others keep nothing."""


def claim(config: RunConfig, directory: RunDirectory) -> None:
    """Writes the configuration before anything else, so that a run that dies at any point can be resumed.

    Raises:
        OtherRunError: The run in the folder, which is to be resumed, is another one.
    """
    remove_scraps(directory.path, directory.samples, directory.checkpoints)
    begun = bool(checkpoint.list_checkpoints(directory.checkpoints))
    if config.output.resume and not begun:
        stored = directory.read_config().identity()
        if differences := checkpoint.differences_between(stored, config.identity()):
            raise OtherRunError(f"the run in {directory.path} is another one: {'; '.join(differences)}")
    if not directory.config.exists() or not begun:
        write_atomically(directory.config, _without_folder(config))


@contextmanager
def naming_what_is_safe(directory: RunDirectory) -> Iterator[None]:
    """Turns what the system says of a run directory that can no longer be written into an error that says what is kept.

    Raises:
        OutputError: The directory cannot be written.
    """
    try:
        yield
    except OSError as error:
        elsewhere = error.filename is not None and not str(error.filename).startswith(str(directory.path))
        if error.errno not in _CANNOT_WRITE or elsewhere:
            raise
        done = checkpoint.list_checkpoints(directory.checkpoints)
        kept = f"round {checkpoint.round_of(done[-1])} is safe" if done else "no round was saved yet"
        raise OutputError(
            f"output.dir={str(directory.path)!r} cannot be written ({error.strerror}); {kept}: make room or give "
            "access, and resume the run"
        ) from error


class Recovery:
    """The rounds that one run may go on from.

    Args:
        config: The run's.
        directory: Where they are; locked, and claimed for this run.
        roster: The run's clients.
        initial: What a run begins with.
        keeper: Holds the memories of simulated clients; None where clients keep them to themselves.

    Attributes:
        scores: Of the rounds so far, in the journal, which is written through it.
    """

    def __init__(
        self,
        config: RunConfig,
        directory: RunDirectory,
        roster: Roster,
        initial: Snapshot,
        keeper: KeepsClients | None,
    ) -> None:
        self._config = config
        self._directory = directory
        self._roster = roster
        self._initial = initial
        self._keeper = keeper
        self.scores = journal.Scores(directory.journal)
        self._saved: dict[int, Mapping[int, int]] = {}  # memory rounds of checkpoints, by round; never written to
        self._writer = CheckpointWriter(self._write, config.output.checkpoint_seconds)

    def starting_point(self) -> Snapshot:
        """Returns the last checkpoint if the run is to be resumed and there is one, else the initial state.

        Raises:
            OtherRunError: The checkpoint is of another run.
            CheckpointError: None of the checkpoints is whole.
        """
        directory, config = self._directory, self._config
        if config.output.resume:
            found = checkpoint.latest(directory.checkpoints)
            if found is not None:
                checkpoint.require_same_run(found, config, self._roster.summary())
                write_atomically(directory.config, _without_folder(config))  # it may have more rounds now
                snapshot = found.snapshot
                self._give_back(snapshot)
                if not directory.journal.exists():
                    log.warning("%s is gone: the record begins anew", directory.journal)
                self.scores.cut(snapshot.state.round)
                journal.note(directory.journal, "resumed", snapshot.state.round, "")
                self._saved = checkpoint.memory_rounds(directory.checkpoints, snapshot.state.round)
                log.info("going on after round %d", snapshot.state.round)
                return snapshot
            log.warning("no checkpoint in %s: beginning again with round 1", directory.checkpoints)
        directory.clear()
        return self._initial

    def last_good(self, run: str) -> Snapshot:
        """Takes the run back to its last good round that is whole on disk, and returns it.

        What came after is dropped, and simulated clients have again what they kept then.

        Args:
            run: Identifies the run (``Snapshot.run``), where it goes back to its very start.
        """
        self._writer.flush()
        folder = self._directory.checkpoints
        good = model_selection.last_good(self.scores.lines, self._config.guard.ratio)
        try:
            found = checkpoint.latest(folder, before=good + 1)
        except CheckpointError:
            found = None
        snapshot = found.snapshot if found else replace(self._initial, run=run)
        round = snapshot.state.round
        for path in reversed(checkpoint.list_checkpoints(folder)):  # the latest first, as a killed run resumes there
            if checkpoint.round_of(path) > round:
                path.unlink()
        self.scores.cut(round)
        self._give_back(snapshot)
        self._saved = {k: kept for k, kept in self._saved.items() if k <= round}
        return snapshot

    def save(self, snapshot: Snapshot, *, scored: bool) -> None:
        """Has a checkpoint of a round written, beside the rounds to come.

        One of a round that was not scored may be left out where later ones follow soon, see
        ``output.checkpoint-seconds``, but not where clients keep their own memories: they would have to keep as many
        as there are rounds in between.

        Raises:
            OSError: This one, or one before it, cannot be written.
        """
        self._writer.put(snapshot, may_be_left_out=not scored and self._keeper is not None)

    def save_now(self, snapshot: Snapshot, *, anew: bool = False) -> None:
        """Returns when there is a checkpoint of a round on disk, and all that were to be written before it.

        Args:
            snapshot: After the round; nothing is written for one before the first round.
            anew: Write it in place of one of the same round.

        Raises:
            OSError: It cannot be written.
        """
        self._writer.flush()
        if snapshot.state.round and (anew or snapshot.state.round not in self._saved):
            self._writer.put(snapshot, may_be_left_out=False)
            self._writer.flush()

    def close(self) -> None:
        """Ends what writes; what is not written yet is lost."""
        self._writer.close()

    def _write(self, snapshot: Snapshot) -> None:
        """Writes a checkpoint, in place of one of the same round; drops those that are no longer needed."""
        journal.synchronise(self._directory.journal)  # no checkpoint of a round whose line could still be lost
        round = snapshot.state.round
        lines = [line for line in list(self.scores.lines) if line["round"] <= round]  # there may be later ones by now
        best = model_selection.best(lines)
        protected = {model_selection.last_good(lines, self._config.guard.ratio), best["round"] if best else 0}
        content = Checkpoint(snapshot, self._config.identity(), self._roster.summary())
        folder, keep = self._directory.checkpoints, self._config.output.keep_checkpoints
        log.debug("wrote %s", checkpoint.save_checkpoint(folder, content, keep, protected))
        self._saved = {**self._saved, round: snapshot.memory_rounds}

    def returnable(self) -> list[Mapping[int, int]]:
        """Returns the ``memory_rounds`` of what the run may go back to, so that clients may forget all others.

        That are the last two checkpoints and the last good round; none where the checkpoints hold clients' memories.
        """
        if self._keeper:
            return []
        good = model_selection.last_good(self.scores.lines, self._config.guard.ratio)
        saved = self._saved
        rounds = {*sorted(saved)[-2:], good} & saved.keys()
        return [saved[round] for round in sorted(rounds)]

    def _give_back(self, snapshot: Snapshot) -> None:
        """Gives simulated clients what they kept then."""
        if self._keeper:
            self._keeper.restore_clients(snapshot.clients, snapshot.memory_rounds)


def _without_folder(config: RunConfig) -> bytes:
    """Returns the configuration as it is kept: a copy of it starts a new run elsewhere, so it names no folder."""
    return config.replaced({"output.dir": "", "output.resume": False}).toml().encode()
