"""One run on one grid: what happens before, around and after Flower's loop."""

import json
import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid

from common import provenance, records
from common.config import RunConfig
from common.errors import ConfigError, DivergenceError
from common.files import write_atomically
from common.generation import load_sampler
from common.seeding import derive_seed
from common.tree import Tree, digest
from server import finished
from server.clients.live_status import LiveStatus
from server.clients.reply_spill import Shelf
from server.clients.resilient_grid import PatientGrid
from server.evaluation.evaluator import Scores
from server.evaluation.scoring import Scoring
from server.records import journal, model_selection, plots, report, tracking
from server.records.ending import heeding_signals, noting_the_end
from server.records.journal import RunDirectory
from server.records.time_left import Pace, is_scored, roughly
from server.recovery import KeepsClients, Recovery, claim, naming_what_is_safe
from server.strategy import FederatedGAN, RoundError, Snapshot

log = logging.getLogger("fedgan.server")


class _DivergedError(Exception):
    """The generator at hand is not to be kept; says why."""


class _StalledError(Exception):
    """The round is done and kept, and the run has gone on for long enough without a better one."""


def run_federation(config: RunConfig, directory: RunDirectory, grid: Grid) -> None:
    """Runs one federation to its last round, from its first one or from its last checkpoint.

    One that is resumed and is over already stays as it is.

    Args:
        config: The run's configuration.
        directory: Where everything is written.
        grid: The clients.

    Raises:
        FedGANError: The run cannot start or go on. What is done is in the run directory, with a checkpoint.
    """
    directory.check(config.output.resume)
    if config.output.resume and (over := finished.told(config, directory)):
        log.info("%s", over)
        return
    directory.create()
    with directory.locked(), heeding_signals():
        with naming_what_is_safe(directory):
            claim(config, directory)
        with noting_the_end(directory), naming_what_is_safe(directory):
            run = Run(config, directory, grid)
            run.begin()
            with tracking.following(config, directory), LiveStatus(directory.now) as now:
                run.tell(now)
                try:
                    run.train()
                except BaseException:
                    run.save_what_is_done()
                    raise
                run.finish()


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
        self._grid = PatientGrid(grid)
        self._shelf = Shelf(directory.path, config.federation.reply_megabytes)
        (self._keeper or self._grid).shelf = self._shelf  # whoever has a reply first
        self._roster = self._grid.roll_call(config)
        config.objective_component.check(self._roster.shape)
        networks = config.model_component.build(self._roster.shape, config.seed)
        initial = config.algorithm_component.init(networks.state_dict(), config.model_component.roles)
        self._scoring = Scoring(config, self._roster, self._grid, directory.moments)
        self._told: set[str] = set()  # events of scoring that the journal has
        self._pace = Pace(config)
        start = Snapshot(initial, run=secrets.token_hex(8))
        self._recovery = Recovery(config, directory, self._roster, start, self._keeper)
        self._engine = self._keeper.engine if self._keeper else ""  # until the journal has it
        self._failures = 0

    def begin(self) -> None:
        """Finds where to start from, and writes what is known before the first round."""
        snapshot = self._accepted = self._recovery.starting_point()
        write_atomically(self._directory.partition, json.dumps(self._described(), indent=1).encode())
        states = self._keeper.client_states if self._keeper else lambda rounds: {}
        self._strategy = FederatedGAN(self._config, self._roster, self._grid, snapshot, states, self._shelf)
        self._strategy.returnable = self._recovery.returnable()
        self._told = {event["reason"] for event in journal.events(self._directory.journal)}
        for sentence in self._scoring.reasons:
            log.log(logging.WARNING if self._scoring.silent else logging.INFO, "%s", sentence)
        for warning in self._scoring.warnings:
            log.warning("%s", warning)
            self._note_once("features", 0, warning)
        self._note_reasons(0)

    def tell(self, now: LiveStatus) -> None:
        """Has ``now`` told what clients do in each round."""
        self._grid.now = now
        if self._keeper is not None:
            self._keeper.on_change = now.put

    def train(self) -> None:
        """Runs the rounds that are left, repeats those that fail, and goes back where the generator diverges.

        Ends early where ``federation.patience`` scored rounds were no better than the best before them, which the
        journal says: a run that ended so and is resumed ends at once, unless it has more patience now.

        Raises:
            FederationError: A round failed more often than ``federation.round-retries`` allows.
            DivergenceError: The generator is no longer finite, and the run has gone back often enough.
        """
        self._pace = Pace(self._config)
        while (left := self._config.federation.num_rounds - self._strategy.snapshot.state.round) > 0:
            if why := self._stalled():
                self._end_early(why)
                return
            try:
                self._strategy.start(
                    self._grid,
                    initial_arrays=records.encode_tree(self._strategy.snapshot.state.parameters),
                    num_rounds=left,
                    timeout=self._config.federation.round_seconds,
                    evaluate_fn=self._after_round,
                )
            except RoundError as error:
                self._failures += 1
                tries = self._config.federation.round_retries + 1
                if self._failures >= tries:
                    raise RoundError(f"{error} (tried {tries} times)" if tries > 1 else str(error)) from None
                self._note("round-repeated", self._strategy.record.round, str(error))
                log.warning("%s; the round is repeated", error)
            except _DivergedError as error:
                self._go_back(str(error))
            except _StalledError:
                log.debug("the round before was the last")

    def save_what_is_done(self) -> None:
        """Saves what is done when the run ends before its last round; does not raise what keeps it from that.

        A round that was not yet scored, drawn and noted is not done: a resumed run does it again.
        """
        try:
            self._strategy.snapshot = self._accepted
            self._save()
        except OSError as problem:
            log.warning("the last round could not be saved: %s", problem)
        try:
            self._draw_partition()
        except (OSError, ConfigError) as problem:
            log.warning("%s", problem)

    def finish(self) -> None:
        """Scores the last generator in full, and writes summary and report."""
        state = self._strategy.snapshot.state
        start = time.perf_counter()
        scores = self._final_scores()
        self._note_reasons(state.round)
        best = model_selection.best(self._recovery.scores.lines)
        summary = {
            "rounds": state.round,
            "images-seen": self._strategy.snapshot.images_seen,
            "rollbacks": self._strategy.snapshot.rollbacks,
            "seconds": {"run": time.perf_counter() - self._start, "final-scores": time.perf_counter() - start},
            "weights-sha256": digest(state.parameters),
            "generator-sha256": digest(state.published(self._config.model_component.roles)),
            "best": {"round": best["round"], "fid": model_selection.quality(best["scores"])} if best else None,
            "class-names": list(self._roster.class_names),
            "scores": scores,
            **self._scoring.summary(scores),
        }
        write_atomically(self._directory.summary, json.dumps(summary, indent=2).encode())
        self._draw_partition()
        report.write_report(self._directory)
        log.info("report: %s", self._directory.report, extra={"summary": summary})

    def _after_round(self, flower_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Samples, scores, journal, checkpoint: called by Flower before the first round and after each.

        Raises:
            _DivergedError: The run is to go back to an earlier round.
            DivergenceError: It would have to, but has done so as often as it may.
            _StalledError: The run is to end after this round.
        """
        output, state = self._config.output, self._strategy.snapshot.state
        last = state.round == self._config.federation.num_rounds
        start = time.perf_counter()
        if flower_round == 0:
            if state.round == 0:
                self._draw_samples()
            return None
        self._failures = 0
        scored = is_scored(self._config, state.round)
        drawn = last or state.round == 1 or state.round % output.sample_every == 0
        scores = self._guarded(scored, drawn)
        self._draw_partition()
        self._strategy.record.seconds["evaluate"] = time.perf_counter() - start
        self._write_line(scores)
        self._note_reasons(state.round)
        self._accepted = self._strategy.snapshot
        if scored or state.round % output.checkpoint_every == 0:
            self._save()
        if scored and not last and self._stalled():
            raise _StalledError
        return MetricRecord({k: v for k, v in scores.items() if isinstance(v, float)}) if scores else None

    def _guarded(self, scored: bool, drawn: bool) -> Scores:
        """Scores and draws the generator at hand as is due, and returns the scores if it is to be kept.

        Raises:
            _DivergedError: It is not, and the run may go back.
            DivergenceError: Its images are not finite, and the run may not go back again.
        """
        round = self._strategy.snapshot.state.round
        may_go_back = self._strategy.snapshot.rollbacks < self._config.guard.rollbacks
        try:
            scores = self._scores() if scored else {}
            if drawn:
                self._draw_samples()
        except DivergenceError as error:
            if may_go_back:
                raise _DivergedError(f"round {round}: {error}") from None
            self._return_to_good()
            raise
        fid = model_selection.quality(scores)
        lines, ratio = self._recovery.scores.lines, self._config.guard.ratio
        why = model_selection.fault(fid, lines, ratio) if fid is not None else None
        if why and may_go_back:
            raise _DivergedError(f"round {round}: {why}")
        if why:
            log.warning("round %d: %s; the run has gone back as often as guard.rollbacks allows", round, why)
            self._note("diverged", round, why)
        return scores

    def _stalled(self) -> str | None:
        patience = self._config.federation.patience
        return model_selection.stalled(self._recovery.scores.lines, patience) if patience else None

    def _end_early(self, why: str) -> None:
        """Notes why the run ends before its last round, and draws its last generator."""
        round = self._strategy.snapshot.state.round
        log.info("the run ends after round %d: %s", round, why)
        self._note("early-stop", round, why)
        if not self._directory.sample(round).exists():
            self._draw_samples()

    def _go_back(self, why: str) -> None:
        """Returns to the last good round, and gives clients other random numbers from there on."""
        rollbacks = self._strategy.snapshot.rollbacks + 1
        good = self._return_to_good()
        log.warning("%s: going back to round %d, with other random numbers", why, good)
        self._note("rollback", good, why)
        self._strategy.snapshot = replace(self._strategy.snapshot, rollbacks=rollbacks)
        if good:
            self._recovery.save(self._strategy.snapshot)
        self._strategy.returnable = self._recovery.returnable()

    def _return_to_good(self) -> int:
        """Takes the state of the last good round, drops what came after, and returns that round."""
        self._strategy.snapshot = self._accepted = self._recovery.last_good(self._strategy.snapshot.run)
        return self._accepted.state.round

    def _save(self) -> None:
        """Writes a checkpoint of the last whole round, unless it is there."""
        snapshot = self._strategy.snapshot
        if snapshot.state.round and not self._recovery.saved(snapshot.state.round):
            self._recovery.save(snapshot)
            self._strategy.returnable = self._recovery.returnable()

    def _write_line(self, scores: Mapping[str, object]) -> None:
        """Appends the round at hand to the journal."""
        state, record = self._strategy.snapshot.state, self._strategy.record
        if self._engine:
            self._note("engine", state.round - 1, self._engine)
            self._engine = ""
        line = {
            "round": state.round,
            "images-seen": self._strategy.snapshot.images_seen,
            "seconds": record.seconds,
            "bytes-down": record.bytes_down,
            "bytes-up": record.bytes_up,
            "clients": self._named(record.clients),
            "refused": self._refusals(),
            "scores": scores,
            **self._scoring.beside(scores),
        }
        self._recovery.scores.append(line)
        self._pace.add(state.round, record.seconds["evaluate"])
        left = self._pace.left()
        words = journal.describe(line, self._config.federation.num_rounds)
        log.info("%s", f"{words}  {roughly(left)} left" if left else words, extra={"line": line})
        if estimate := self._pace.estimate():
            log.info("%s", estimate)

    def _note(self, event: str, round: int, reason: str) -> None:
        """Appends something that happened beside the rounds to the journal."""
        refused = self._refusals() if event == "round-repeated" else []
        journal.note(self._directory.journal, event, round, reason, refused)

    def _note_once(self, event: str, round: int, reason: str) -> None:
        if reason not in self._told:
            self._note(event, round, reason)
            self._told.add(reason)

    def _refusals(self) -> list[dict[str, Any]]:
        refused = self._strategy.record.refused
        return self._named([{"partition": partition, "reason": reason} for partition, reason in refused.items()])

    def _named(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Returns rows on clients with ``site`` beside ``partition`` for those that have a name."""
        names = self._roster.names
        return [{**row, "site": names[k]} if (k := row["partition"]) in names else dict(row) for row in rows]

    def _note_reasons(self, round: int) -> None:
        """Notes why metrics are not computed, as far as that is not in the journal yet."""
        for sentence in self._scoring.reasons:
            self._note_once("not-scored", round, sentence)

    def _published(self) -> Tree:
        return self._strategy.snapshot.state.published(self._config.model_component.roles)

    def _scores(self) -> Scores:
        return self._scoring.quick(self._published())

    def _final_scores(self) -> Scores:
        return self._scoring.final(self._published())

    def _described(self) -> dict[str, object]:
        """Returns who holds what, with the names of the classes and of the clients."""
        summary = self._roster.summary()
        clients = self._named(summary["clients"])
        return {"class-names": list(self._roster.class_names)} | summary | {"clients": clients}

    def _draw_partition(self) -> None:
        """Draws who holds what, unless that is there: before the first round's line, and not before its training."""
        if not self._directory.partition_picture.exists():
            plots.draw_partition(self._described(), self._directory.partition_picture)

    def _draw_samples(self) -> None:
        state = self._strategy.snapshot.state
        if weights := self._published():
            generator = load_sampler(self._config.model_component, self._roster.shape, weights)
            name, seed = self._directory.path.name, derive_seed(self._config.seed, "samples")
            origin = provenance.origin(name, self._config.data.name, state.round, seed, digest(weights))
            report.draw_samples(generator, self._roster.held, origin, self._directory.sample(state.round))
