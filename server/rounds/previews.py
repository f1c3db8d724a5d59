"""Draws what a run makes and who holds what, as the run goes on."""

import logging

from common import provenance
from common.algorithms import ServerState
from common.config import RunConfig
from common.errors import DivergenceError
from common.examples import ExampleSet
from common.generation import load_sampler
from common.hooks import Answer, GoBack, Keep
from common.reconstruction import missing_networks, reconstruct
from common.seeding import derive_seed
from common.tree import digest
from server.clients.roster import Roster
from server.records import plots, reconstruction_picture, sample_picture
from server.records.run_directory import RunDirectory
from server.rounds.base import KeptRound, named

log = logging.getLogger("fedgan.server")


class DrawSamples:
    """Draws samples after the first round, after the last, and every ``output.sample-every`` rounds.

    Where the model reconstructs examples, and the server has its networks and examples held out, it draws these too.

    Args:
        config: The run's.
        roster: Its clients.
        directory: Where pictures are.
        held_out: Examples that no client trains on; None: the server has none.
    """

    def __init__(
        self, config: RunConfig, roster: Roster, directory: RunDirectory, held_out: ExampleSet | None = None
    ) -> None:
        self._config, self._roster, self._directory = config, roster, directory
        self._held_out = held_out

    def after(self, round: KeptRound) -> Answer:
        """Draws the round if it is due; a model whose examples are not finite cannot be kept."""
        if not (round.last or round.number == 1 or round.number % self._config.output.sample_every == 0):
            return Keep()
        try:
            self.draw(round.state)
        except DivergenceError as error:
            return GoBack(str(error), error)
        return Keep()

    def draw(self, state: ServerState) -> None:
        """Draws the generator of a state, if the server has one.

        Raises:
            DivergenceError: Its examples are not finite.
        """
        if weights := state.published(self._config.model_component.roles):
            generator = load_sampler(self._config.model_component, self._roster.spec, weights)
            name, seed = self._directory.path.name, derive_seed(self._config.seed, "samples")
            config = self._config
            origin = provenance.origin(
                name, config.data.name, state.round, seed, digest(weights), config.privacy_component.spec()
            )
            held, names = self._roster.held, self._class_names
            for way, variant in generator.variants().items():
                sample_picture.draw_samples(variant, held, origin, self._directory.variant(way), names)
            sample_picture.draw_samples(generator, held, origin, self._directory.sample(state.round), names)
            if self._held_out is not None and not self._directory.real.exists():
                sample_picture.draw_real(self._roster.spec, self._held_out, held, self._directory.real, names)
        self._draw_reconstructions(state)

    @property
    def _class_names(self) -> tuple[str, ...]:
        """What the labels of samples mean; empty where the model does not look at them."""
        return self._roster.class_names if getattr(self._config.model_component, "conditional", False) else ()

    def _draw_reconstructions(self, state: ServerState) -> None:
        model, spec, path = self._config.model_component, self._roster.spec, self._directory.reconstructions
        if not model.reconstructs_with or missing_networks(model, state.parameters):
            return
        if shown := reconstruction_picture.usable(self._held_out, self._roster.held):
            made = reconstruct(model, spec, state.parameters, *shown)
            origin = provenance.of_reconstructions(
                self._directory.path.name, self._config.data.name, state.round, digest(state.parameters)
            )
            if made is None:
                log.warning("round %d: the reconstructions of held-out %s are not finite", state.round, spec.kind)
            else:
                reconstruction_picture.draw_reconstructions(spec, shown[0], made, origin, path)


class DrawPartition:
    """Draws who holds what once a run: before the first round's line, and not before its training.

    Args:
        roster: The run's clients.
        directory: Where the picture is.
    """

    def __init__(self, roster: Roster, directory: RunDirectory) -> None:
        self._roster, self._directory = roster, directory

    def after(self, round: KeptRound) -> Answer:
        """Draws the picture unless it is there."""
        self.draw()
        return Keep()

    def draw(self) -> None:
        """Draws the picture unless it is there."""
        if not self._directory.partition_picture.exists():
            plots.draw_partition(described(self._roster), self._directory.partition_picture)


def described(roster: Roster) -> dict[str, object]:
    """Returns who holds what, with the names of the classes and of the clients, as ``partition.json`` has it."""
    summary = roster.summary()
    clients = named(summary["clients"], roster.names)
    return {"class-names": list(roster.class_names)} | summary | {"clients": clients}
