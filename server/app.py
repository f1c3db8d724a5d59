"""The Flower ServerApp: parse, roll call, Flower's loop, summary. The same object in every runtime."""

import io
import json
import logging
import time
import tomllib
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from PIL import Image

from common import wire
from common.config import RunConfig, flatten
from common.datasets.base import ImageShape
from common.errors import OtherRunError
from common.generation import balanced_labels, generate, load_generator, tile
from common.seeding import derive_seed
from common.tree import digest
from server import checkpoint, cohort, evaluation, journal, report
from server.checkpoint import Checkpoint
from server.evaluation import ALL, QUICK, Scores
from server.journal import RunDirectory
from server.strategy import ClientStates, FederatedGAN, Snapshot

log = logging.getLogger("fedgan.server")

app = ServerApp()

SAMPLE_COLUMNS = 10
_SAMPLE_ROWS = 20


@runtime_checkable
class KeepsClients(Protocol):
    """A grid that holds its simulated clients' memory, so that a checkpoint of the server holds it too."""

    def client_states(self) -> ClientStates:
        """Returns what the clients keep, by partition; by reference, not to be written to."""

    def restore_clients(self, states: ClientStates) -> None:
        """Gives the clients back what they kept."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs one federation from its first round, or from its last checkpoint, to its last round.

    Raises:
        FedGANError: The run cannot start or go on. What is done is in the run directory, with a checkpoint.
    """
    config = RunConfig.from_flat(context.run_config)
    directory = journal.resolve(config.output.dir)
    _make_heard()
    log.info("run directory: %s", directory.path)
    torch.set_num_threads(config.local.num_threads)
    directory.check(config.output.resume)
    run = Run(config, directory, grid)
    directory.create()
    with directory.locked():
        run.begin()
        try:
            run.train()
        except BaseException:
            run.save()
            raise
        run.finish()


class Run:
    """One run on one grid: what happens around Flower's loop.

    Args:
        config: The run's configuration.
        directory: Where everything is written.
        grid: The clients.
    """

    def __init__(self, config: RunConfig, directory: RunDirectory, grid: Grid) -> None:
        self._config = config
        self._directory = directory
        self._grid = grid
        self._roster = cohort.roll_call(grid, config)
        self._keeper = grid if isinstance(grid, KeepsClients) else None
        self._evaluator = evaluation.make_evaluator(config)
        networks = config.model_component.build(self._roster.shape, config.seed)
        self._initial = Snapshot(config.algorithm_component.init(networks.state_dict()), {})
        self._start = time.perf_counter()

    def begin(self) -> None:
        """Finds where to start from, and writes what is known before the first round."""
        config = self._config
        snapshot = self._starting_point()
        self._started_round = self._saved_round = self._journal_round = snapshot.state.round
        self._write_start()
        self._strategy = FederatedGAN(
            config.algorithm_component,
            self._roster,
            config.federation,
            config.seed,
            snapshot,
            self._keeper.client_states if self._keeper else dict,
        )

    def train(self) -> None:
        """Runs the rounds that are left."""
        rounds = self._config.federation.num_rounds - self._started_round
        if rounds > 0:
            self._strategy.start(
                self._grid,
                initial_arrays=wire.encode_tree(self._strategy.snapshot.state.parameters),
                num_rounds=rounds,
                timeout=self._config.federation.round_seconds,
                evaluate_fn=self._after_round,
            )

    def save(self) -> None:
        """Writes a checkpoint of the last whole round, unless there is one."""
        state = self._strategy.snapshot.state
        if state.round <= self._saved_round:
            return
        self._write_line({})
        content = Checkpoint(self._strategy.snapshot, self._config.identity(), self._roster.summary())
        path = checkpoint.save_checkpoint(self._directory.checkpoints, content, self._config.output.keep_checkpoints)
        self._saved_round = state.round
        log.debug("wrote %s", path)

    def finish(self) -> None:
        """Scores the last generator in full, and writes summary and report."""
        state = self._strategy.snapshot.state
        log.info("final scores on %d images ...", self._config.evaluation.final_num_images)
        start = time.perf_counter()
        scores = self._scores(ALL, self._config.evaluation.final_num_images)
        summary = {
            "rounds": state.round,
            "images-seen": self._strategy.snapshot.images_seen,
            "seconds": {"run": time.perf_counter() - self._start, "final-scores": time.perf_counter() - start},
            "weights-sha256": digest(state.parameters),
            "generator-sha256": digest(state.generator()),
            "scores": scores,
        }
        journal.write_atomically(self._directory.summary, json.dumps(summary, indent=2).encode())
        report.write_report(self._directory)
        log.info("report: %s", self._directory.report, extra={"summary": summary})

    def _starting_point(self) -> Snapshot:
        """Returns the last checkpoint if the run is to be resumed and there is one, else the initial state.

        Raises:
            OtherRunError: The run in the folder is another one.
            CheckpointError: None of its checkpoints is whole.
        """
        directory, config = self._directory, self._config
        if config.output.resume:
            found = checkpoint.latest(directory.checkpoints)
            if found is not None:
                checkpoint.require_same_run(found, config, self._roster.summary())
                if self._keeper:
                    self._keeper.restore_clients(found.snapshot.clients)
                elif found.snapshot.clients:
                    log.warning("the checkpoint holds clients' memory; the clients of this runtime start without it")
                if not directory.journal.exists():
                    log.warning("%s is gone: the record begins anew", directory.journal)
                journal.cut(directory.journal, found.snapshot.state.round)
                log.info("going on after round %d", found.snapshot.state.round)
                return found.snapshot
            stored = RunConfig.from_flat(flatten(tomllib.loads(directory.config.read_text(encoding="utf-8"))))
            if differences := checkpoint.differences_between(stored.identity(), config.identity()):
                raise OtherRunError(f"the run in {directory.path} is another one: {'; '.join(differences)}")
            log.warning("no checkpoint in %s: beginning again with round 1", directory.checkpoints)
        directory.clear()
        return self._initial

    def _write_start(self) -> None:
        # A copy of the configuration starts a new run elsewhere, so it names no folder.
        config = self._config.replaced({"output.dir": "", "output.resume": False})
        journal.write_atomically(self._directory.config, config.toml().encode())
        summary = self._roster.summary()
        journal.write_atomically(self._directory.partition, json.dumps(summary, indent=1).encode())
        report.draw_partition(summary, self._directory.partition_picture)

    def _after_round(self, flower_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Samples, scores, journal, checkpoint: called by Flower before the first round and after each."""
        output, every = self._config.output, self._config.evaluation.every
        state = self._strategy.snapshot.state
        last = state.round == self._config.federation.num_rounds
        start = time.perf_counter()
        if last or state.round <= 1 or state.round % output.sample_every == 0:
            self._draw_samples()
        if flower_round == 0:
            return None
        scores: Scores = {}
        if last or (every and (state.round == 1 or state.round % every == 0)):
            scores = self._scores(QUICK, self._config.evaluation.num_images)
        self._strategy.record.seconds["evaluate"] = time.perf_counter() - start
        self._write_line(scores)
        if last or state.round % output.checkpoint_every == 0:
            self.save()
        return MetricRecord({k: v for k, v in scores.items() if isinstance(v, float)}) if scores else None

    def _write_line(self, scores: Mapping[str, object]) -> None:
        """Appends the round at hand to the journal, once."""
        state, record = self._strategy.snapshot.state, self._strategy.record
        if state.round <= self._journal_round:
            return
        line = {
            "round": state.round,
            "images-seen": self._strategy.snapshot.images_seen,
            "seconds": record.seconds,
            "bytes-down": record.bytes_down,
            "bytes-up": record.bytes_up,
            "clients": record.clients,
            "refused": [{"partition": k, "reason": why} for k, why in record.refused.items()],
            "scores": scores,
        }
        journal.append(self._directory.journal, line)
        self._journal_round = state.round
        log.info("%s", journal.describe(line, self._config.federation.num_rounds), extra={"line": line})

    def _scores(self, names: tuple[str, ...], num_images: int) -> Scores:
        weights = self._strategy.snapshot.state.generator()
        if self._evaluator is None or not weights:
            return {}
        generator = load_generator(self._config.model_component, self._roster.shape, weights, _fastest_device())
        return self._evaluator.score(generator, names, num_images)

    def _draw_samples(self) -> None:
        state = self._strategy.snapshot.state
        if weights := state.generator():
            generator = load_generator(self._config.model_component, self._roster.shape, weights)
            picture = tile(
                generate(generator, sample_labels(self._roster.shape), derive_seed(self._config.seed, "samples")),
                SAMPLE_COLUMNS,
            )
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, format="png")
            journal.write_atomically(self._directory.sample(state.round), buffer.getvalue())
        elif state.round == 0:
            log.info("no samples and no scores: %s sends no generator to the server", self._config.algorithm)


def sample_labels(shape: ImageShape) -> torch.Tensor:
    """Returns the labels of the sample picture, int64: a row a class, up to 20 classes; 10 rows without classes."""
    rows = min(shape.num_classes, _SAMPLE_ROWS) if shape.num_classes > 1 else SAMPLE_COLUMNS
    return balanced_labels(rows, shape.num_classes).repeat_interleave(SAMPLE_COLUMNS)


def _make_heard() -> None:
    """Sends the log to stderr where nobody listens: under ``flwr run``, where that is the run's log."""
    logger = logging.getLogger("fedgan")
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("fedgan: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def _fastest_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
