"""One run on one grid: what happens around Flower's loop, and how often a failed round is repeated."""

import json
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace

from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid

from common import wire
from common.config import RunConfig
from common.errors import ConfigError
from common.files import write_atomically
from common.hooks import GoBack, Stop
from common.journal_lines import RoundLine
from common.privacy import ClientPrivacy
from server import summary
from server.clients.live_status import LiveStatus
from server.clients.masked_rounds import MaskedRounds
from server.clients.reply_spill import ReplySpill
from server.clients.resilient_grid import ResilientGrid
from server.evaluation.scoring import Scoring
from server.records import journal, report
from server.records.notes import Notes
from server.records.privacy_ledger import PrivacyLedger, SpentError
from server.records.run_directory import RunDirectory
from server.recovery import KeepsClients, Recovery
from server.rounds.base import BringsHooks, Hook, KeptRound, Snapshot
from server.rounds.checkpoint_schedule import CheckpointSchedule
from server.rounds.ended_early import why_over
from server.rounds.guard import Guard
from server.rounds.patience import Patience
from server.rounds.previews import DrawPartition, DrawSamples, described
from server.rounds.scores import ScoreRound
from server.rounds.training_signs import TrainingSigns
from server.rounds.verdict import verdict
from server.rounds.write_journal import WriteLine
from server.strategy import FederatedStrategy, RoundError

log = logging.getLogger("fedgan.server")


class _LeftLoopError(Exception):
    """A hook has answered to go back or to stop: Flower's loop ends early in no other way."""

    def __init__(self, answer: GoBack | Stop) -> None:
        self.answer = answer


class Run:
    """One run on one grid.

    Args:
        config: The run's configuration.
        directory: Where everything is written; locked, and claimed for this run.
        grid: The clients.
    """

    def __init__(self, config: RunConfig, directory: RunDirectory, grid: Grid) -> None:
        self._config = config
        self._directory = directory
        self._start = time.perf_counter()
        log.info("run directory: %s", directory.path)  # from here on it can be resumed
        self._keeper = grid if isinstance(grid, KeepsClients) else None
        self._given_hooks = grid.hooks if isinstance(grid, BringsHooks) else ()
        self._grid = ResilientGrid(grid)
        self._spill = ReplySpill(directory.path, config.federation.reply_megabytes)
        (self._keeper or self._grid).spill = self._spill  # whoever has a reply first
        self._roster = self._grid.roll_call(config)
        config.objective_component.check(self._roster.spec)
        networks = config.model_component.build(self._roster.spec, config.seed)
        initial = config.algorithm_component.init(networks.state_dict(), config.model_component.roles)
        if isinstance(promise := config.privacy_component, ClientPrivacy):
            num_weights = sum(value.numel() for value in initial.parameters.values())
            promise.check_size(config.plan_of_clients(), len(self._roster.clients), num_weights)
        self._scoring = Scoring(config, self._roster, self._grid, directory.moments)
        start = Snapshot(initial, run=secrets.token_hex(8))
        self._recovery = Recovery(config, directory, self._roster, start, self._keeper)
        self._samples = DrawSamples(config, self._roster, directory, self._scoring.held_out)
        self._partition = DrawPartition(self._roster, directory)
        self._failures = 0

    def begin(self) -> None:
        """Finds where to start from, and writes what is known before the first round."""
        snapshot = self._done = self._recovery.starting_point()
        write_atomically(self._directory.partition, json.dumps(described(self._roster), indent=1).encode())
        self._ledger = PrivacyLedger.begun(self._directory.privacy, self._config, self._roster.clients)
        if self._ledger is not None:
            self._ledger.require(snapshot.releases, snapshot.state.round)
        states = self._keeper.client_states if self._keeper else lambda rounds: {}
        masked = None
        if self._config.aggregator.sums_alone:
            masked = MaskedRounds(self._config, self._roster, self._grid, self._directory.site_keys)
        self._strategy = FederatedStrategy(
            self._config,
            self._roster,
            self._grid,
            snapshot,
            states,
            self._spill,
            self._recovery.returnable,
            masked,
        )
        self._strategy.ledger = self._ledger
        self._grid.may_not_ask_again = self._strategy.charge_again
        self._notes = Notes(self._directory.journal)
        for sentence in self._scoring.reasons:
            log.log(logging.WARNING if self._scoring.silent else logging.INFO, "%s", sentence)
        for warning in self._scoring.warnings:
            log.warning("%s", warning)
        self._notes.add_new("features", 0, self._scoring.warnings)
        self._notes.add_new("not-scored", 0, self._scoring.reasons)

    def _listed_hooks(self, earlier: Sequence[RoundLine]) -> Sequence[Hook]:
        """Returns what looks at each finished round, in this order.

        One that answers ``GoBack`` has the rest skipped: the round is not kept. After ``Stop`` the rest follow, and
        the run ends. A round whose line is in the journal is done; one that was interrupted before is done again.
        Trackers follow the journal from beside the run (``server/records/tracking``).
        """
        config, engine = self._config, self._keeper.engine if self._keeper else ""
        return [
            ScoreRound(config, self._scoring),
            self._samples,
            Guard(config),
            *config.round_hooks,  # what the user has added: common/hooks
            *self._given_hooks,
            self._partition,
            TrainingSigns(config, self._notes, earlier),
            WriteLine(config, self._recovery.scores, self._notes, self._scoring, engine),
            CheckpointSchedule(config, self._recovery.save),
            Patience(config),
        ]

    def show_clients_in(self, now: LiveStatus) -> None:
        """Keeps in ``now`` what clients do in each round."""
        self._grid.now = now
        if self._keeper is not None:
            self._keeper.on_change = now.put

    def train(self) -> None:
        """Runs the rounds that are left, repeats those that fail, and goes back or ends where a hook says so.

        Raises:
            FederationError: A round failed more often than ``federation.round-retries`` allows.
            DivergenceError: The generator is no longer finite, and the run has gone back often enough.
        """
        earlier = journal.read(self._directory.journal)
        self._hooks = self._listed_hooks(earlier)
        over = why_over(self._config, earlier, self._done, self._ledger)
        while (left := self._config.federation.num_rounds - self._strategy.snapshot.state.round) > 0:
            if over:
                self._end_early(over)
                return
            try:
                self._strategy.start(
                    self._grid,
                    initial_arrays=wire.encode_tree(self._strategy.snapshot.state.parameters),
                    num_rounds=left,
                    timeout=self._config.federation.round_seconds,
                    evaluate_fn=self._after_round,
                )
            except RoundError as error:
                self._repeat(error)
            except SpentError as error:
                over = str(error)
                assert self._ledger is not None
                self._ledger.end(self._strategy.snapshot.state.round, over)
            except _LeftLoopError as leaving:
                if isinstance(leaving.answer, GoBack):
                    self._go_back(leaving.answer.why)
                else:
                    over = leaving.answer.why
                    if not leaving.answer.final_scores:
                        self._scoring.leave_out_final(over)

    def save_what_is_done(self) -> None:
        """Saves what is done when the run ends before its last round; does not raise what keeps it from that."""
        try:
            self._recovery.save_now(self._done)
        except OSError as problem:
            log.warning("the last round could not be saved: %s", problem)
        try:
            self._partition.draw()
        except (OSError, ConfigError) as problem:
            log.warning("%s", problem)

    def finish(self) -> None:
        """Saves the last round, scores its generator in full, and writes summary and report."""
        self._recovery.save_now(self._done)
        lines, names = self._recovery.scores.lines, self._roster.class_names
        written = summary.write(
            self._directory,
            self._strategy.snapshot,
            self._scoring,
            self._notes,
            lines,
            names,
            self._start,
            self._ledger,
        )
        self._partition.draw()
        report.write_report(self._directory)
        log.info("report: %s", self._directory.report, extra={"summary": written})

    def close(self) -> None:
        """Ends what writes checkpoints."""
        self._recovery.close()

    def _after_round(self, flower_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Has the hooks look at a round: called by Flower before the first one, which has none, and after each.

        Raises:
            _LeftLoopError: The run is to go back to an earlier round, or to end after this one.
            FedGANError: It is to go back, has done so as often as it may, and the round cannot be kept.
        """
        snapshot, record = self._strategy.snapshot, self._strategy.record
        if flower_round == 0:
            if snapshot.state.round == 0:
                self._samples.draw(snapshot.state)
            return None
        self._failures = 0
        round = KeptRound(
            state=snapshot.state,
            line=record.line(snapshot.examples_seen, self._roster.names, self._config.pipeline.specs()),
            earlier=tuple(self._recovery.scores.lines),
            num_rounds=self._config.federation.num_rounds,
            rollbacks=snapshot.rollbacks,
            snapshot=snapshot,
            since=time.perf_counter(),
        )
        if self._ledger is not None:
            round.line["privacy"] = {"epsilon": self._ledger.largest_of_few()}
        try:
            answer = verdict(self._hooks, round, self._config.guard.rollbacks, self._notes)
        finally:
            if round.in_journal:
                self._done = round.snapshot
        if isinstance(answer, GoBack):
            self._leave(round, answer)
        if isinstance(answer, Stop) and not round.last:
            raise _LeftLoopError(answer)
        scores = round.line["scores"]
        return MetricRecord({k: v for k, v in scores.items() if isinstance(v, float)}) if scores else None

    def _leave(self, round: KeptRound, answer: GoBack) -> None:
        """Leaves the loop to go back; if the run has gone back often enough, ends it with the hook's error."""
        if round.rollbacks < self._config.guard.rollbacks or answer.error is None:
            raise _LeftLoopError(replace(answer, why=f"round {round.number}: {answer.why}"))
        self._return_to_good()
        raise answer.error

    def _repeat(self, error: RoundError) -> None:
        """Notes that a round failed and is done again.

        Raises:
            RoundError: It has been often enough.
        """
        self._failures += 1
        tries = self._config.federation.round_retries + 1
        if self._failures >= tries:
            raise RoundError(f"{error} (tried {tries} times)" if tries > 1 else str(error)) from None
        record = self._strategy.record
        self._notes.add("round-repeated", record.round, str(error), record.refusals(self._roster.names))
        log.warning("%s; the round is repeated", error)

    def _end_early(self, why: str) -> None:
        """Notes why the run ends before its last round, and draws its last generator."""
        state = self._strategy.snapshot.state
        log.info("the run ends after round %d: %s", state.round, why)
        self._notes.add("early-stop", state.round, why)
        if not self._directory.sample(state.round).exists():
            self._samples.draw(state)

    def _go_back(self, why: str) -> None:
        """Returns to the last good round, and gives clients other random numbers from there on."""
        rollbacks = self._strategy.snapshot.rollbacks + 1
        good = self._return_to_good()
        log.warning("%s: going back to round %d, with other random numbers", why, good.state.round)
        self._notes.add("rollback", good.state.round, why)
        snapshot = replace(good, rollbacks=rollbacks)
        if good.state.round:
            self._recovery.save_now(snapshot, anew=True)
        self._strategy.go_on_from(snapshot)

    def _return_to_good(self) -> Snapshot:
        """Takes the state of the last good round, drops what came after, and returns that state."""
        self._done = self._recovery.last_good(self._strategy.snapshot.run)
        self._strategy.go_on_from(self._done)
        return self._done
