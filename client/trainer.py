"""The local training loop, the only one in the project.

It knows phases (``common/objectives``) and nothing of any GAN. One trainer owns resident networks and optimisers that
are loaded in place; whatever outlives a fit is read out by the caller (weights, the optimisers' slots).
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from client.batches import Assignment, BatchMaker
from client.device_memory import on_device
from client.losses import checked_means
from client.private_steps import PrivateSteps
from client.private_sums import outer_sums
from client.step_average import StepAverage
from client.steps import StepScalars, mean, needed_networks
from client.trainer_spec import TrainerSpec
from common.models import Roles
from common.objectives import Batch, Phase
from common.optimisers import Stepper
from common.optimisers.rate_schedule import rate_share
from common.outer_products import packed
from common.tree import Tree, clone, select


class Trainer:
    """Local training of one client at a time on resident networks."""

    def __init__(self, spec: TrainerSpec) -> None:
        spec.objective.check(spec.example_spec)
        examples, local, device = spec.example_spec, spec.local, spec.device
        networks = spec.model.build(examples, spec.seed)
        self._initial = clone(networks.state_dict())
        self._networks: dict[str, nn.Module] = dict(networks.to(device).train().items())
        self._state: dict[str, Tensor] = networks.state_dict()  # shares memory with the networks
        self._parameters = {name: list(network.parameters()) for name, network in self._networks.items()}
        self._spec = examples
        self._model, self._roles = spec.model, spec.model.roles
        self._sampler = spec.model.sampler(self._networks)
        self._batch_maker = BatchMaker(spec.objective, examples, self._sampler.noise_shape, local)
        self._phases = spec.objective.phases()
        self._local = local
        self._device = device
        self._rates = {
            name: local.adversary_learning_rate if name in self._roles.adversaries else local.learning_rate
            for name in self._networks
        }
        self._steppers = {
            name: Stepper(network, spec.optimiser, self._rates[name]) for name, network in self._networks.items()
        }
        self._slots = self._all_slots()
        self._assignment: Assignment | None = None
        self._private: PrivateSteps | None = None
        self._kept_share: float | None = None
        self._average: StepAverage | None = None

    def assign(self, assignment: Assignment, moments: Tree | None) -> None:
        """Turns to another client: its shard, its random numbers, its rates, and its optimisers' slots (None: zero)."""
        self._assignment = assignment
        release = assignment.private_round()
        self._private = (
            None if release is None else PrivateSteps(self._networks, self._batch_maker, assignment, release)
        )
        self._kept_share = self._average = None
        share = rate_share(self._local, assignment.round, assignment.num_rounds)
        for name, stepper in self._steppers.items():
            stepper.learning_rate = self._rates[name] * share
        if not self._slots:
            return
        if moments:
            torch._foreach_copy_(list(self._slots.values()), [moments[key] for key in self._slots])
        else:
            torch._foreach_zero_(list(self._slots.values()))

    @property
    def num_examples(self) -> int:
        """Images in the shard of the client at hand."""
        return len(self._assigned.examples)

    @property
    def roles(self) -> Roles:
        """What each network is for."""
        return self._roles

    @property
    def round(self) -> int:
        """The round at hand, from 1."""
        return self._assigned.round

    def initial(self) -> Tree:
        """Returns the weights that the run starts from, on the CPU; not to be written to."""
        return self._initial

    @torch.no_grad()
    def load(self, tree: Tree) -> None:
        """Copies ``tree`` into the networks in place; networks that it does not name stay as they are.

        Raises:
            KeyError: ``tree`` has an entry that the networks have not.
        """
        tree = on_device(tree, self._device)
        torch._foreach_copy_([self._state[key] for key in tree], list(tree.values()))

    def parameters(self) -> dict[str, Tensor]:
        """Returns a copy of all weights and buffers, on the CPU."""
        return clone(self._state)

    def average_steps(self, kept_share: float) -> None:
        """Has each ``fit`` also take the mean of the published networks over its steps; see ``LocalTrainer``."""
        self._kept_share = kept_share

    def averaged(self) -> dict[str, Tensor]:
        """Returns that mean of the last ``fit``, on the CPU."""
        assert self._average is not None, "average_steps() and fit() come first"
        return self._average.tree()

    @property
    def average_decay(self) -> float | None:
        """What a moving average over the steps of a fit keeps at each of them; None if no average is requested."""
        return None if self._kept_share is None else self._kept_share ** (1.0 / self._local.steps)

    def _begin_average(self) -> StepAverage | None:
        """Returns a new average that a fit is to take its steps into; None if none is requested."""
        if (decay := self.average_decay) is not None:
            self._average = StepAverage(select(self._state, self._roles.published), decay)
        return self._average

    def moments(self) -> dict[str, Tensor]:
        """Returns a copy of the optimisers' slots, on the CPU; ``assign`` takes it back."""
        return clone(self._slots)

    def fit(
        self,
        *,
        networks: Sequence[str] | None = None,
        given: Tree | None = None,
        extra_loss: Callable[[str, nn.Module], Tensor] | None = None,
        gradient_hook: Callable[[str, nn.Module], None] | None = None,
    ) -> dict[str, float]:
        """Trains for ``local.steps`` steps; returns the means of losses and diagnostics, ``examples`` and ``seconds``.

        ``examples`` counts the real examples that phases used.

        Args:
            networks: Only phases that step these; None: all phases.
            given: See ``LocalTrainer``.
            extra_loss: Called with the name and the network that a phase steps; its scalar is added to the loss.
            gradient_hook: Called likewise after the backward pass; may change ``parameter.grad`` in place.

        Raises:
            DivergenceError: A loss was not finite; names round, step, partition and phase.
        """
        start = time.perf_counter()
        scalars = StepScalars()
        phases, average = self.step_phases(networks), self._begin_average()
        needed = needed_networks(phases)
        batches = self._batches(phases, given)
        for _ in range(self._local.steps):
            for phase, active in zip(phases, needed, strict=True):
                self._freeze_all_but(active)
                scalars.add(phase, *self._step(phase, next(batches), extra_loss, gradient_hook))
            if average is not None:
                average.take()
        return self.summary(phases, *scalars.read(), time.perf_counter() - start)

    @torch.no_grad()
    def count(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Returns the counts that the examples make, and what ``fit`` returns; see ``LocalTrainer``."""
        self._assigned.refuse_if_private("counts examples without noise")
        start = time.perf_counter()
        stored = self._assigned.examples.stored.to(self._device)
        counts = {
            key: value.cpu() for key, value in self._model.counted(self._spec, self._spec.to_input(stored)).items()
        }
        networks = self._model.build(self._spec, seed=0)
        networks.load_state_dict(counts)
        networks.to(self._device)
        scalars, phases = StepScalars(), self.step_phases(None)
        for phase, batch in zip(phases * self._local.steps, self._batches(phases), strict=True):
            scalars.add(phase, *phase.loss(dict(networks.items()), batch))
        return counts, self.summary(phases, *scalars.read(), time.perf_counter() - start)

    def step_phases(self, networks: Sequence[str] | None) -> list[Phase]:
        """Returns the phases of one step in turn; only those that step ``networks`` unless that is None."""
        phases = [phase for phase in self._phases if networks is None or set(phase.networks) <= set(networks)]
        if self._private is not None:  # what a batch of real examples leaves to another phase is not private
            phases = [replace(phase, reuses_batch=False) for phase in phases]
        return [phase for phase in phases for _ in range(phase.repeats)]

    def summary(
        self,
        phases: Sequence[Phase],
        losses: Mapping[str, Sequence[float]],
        diagnostics: Mapping[str, Sequence[float]],
        seconds: float,
    ) -> dict[str, float]:
        """Returns what ``fit`` does, of what its phases gave in turn, by name.

        Raises:
            DivergenceError: See ``fit``.
        """
        if self._private is not None:  # nothing but what is known anyway
            return {"examples": self._private.expected_examples(phases), "seconds": seconds}
        means = checked_means(losses, self._local, self._assigned) | {
            key: mean(values) for key, values in diagnostics.items()
        }
        examples = self._local.batch_size * self._local.steps * sum(phase.uses_examples for phase in phases)
        return means | {"examples": examples, "seconds": seconds}

    def real(self, num: int, scope: str) -> tuple[Tensor, Tensor]:
        """Returns ``num`` examples and labels drawn from the shard; see ``LocalTrainer``."""
        self._assigned.refuse_if_private("looks at real examples itself")
        shard = self._assigned.examples
        chosen = torch.randint(len(shard), (num,), generator=self._assigned.generator(scope, "real"))
        examples, labels = shard.take(chosen)
        return self._spec.to_input(examples.to(self._device)), labels.to(self._device)

    @torch.no_grad()
    def fake(self, num: int, scope: str) -> tuple[Tensor, Tensor]:
        """Returns ``num`` examples that the loaded networks make, and their labels; see ``LocalTrainer``."""
        generator, labels = self._assigned.generator(scope, "fake"), self._assigned.examples.labels
        if self._private is not None:
            labels = torch.arange(self._spec.num_classes)
        chosen = labels[torch.randint(len(labels), (num,), generator=generator)].to(self._device)
        noise = torch.randn(num, *self._sampler.noise_shape, generator=generator).to(self._device)
        return self._sampler(noise, chosen), chosen

    def noisy_moments(self) -> tuple[Tensor, float]:
        """Returns the sums that a model of moments is made of, as rows, and how noisy each is; see ``LocalTrainer``."""
        describe = partial(self._model.described, self._spec)
        shape = self._model.moments_shape(self._spec)
        sums = packed(outer_sums(describe, self._assigned.examples, self._spec, self._device, shape))
        if self._private is None:
            return sums, 0.0
        release = self._private.release
        return release.hidden(sums, 1.0), release.plan.own_noise

    def feedback(self, examples: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the loaded adversary's logits of examples, and their gradients; see ``LocalTrainer``."""
        looked_at = examples.to(self._device, copy=True).requires_grad_(True)
        (adversary,) = self._roles.adversaries
        logits = self._networks[adversary](looked_at, labels.to(self._device))
        (gradients,) = torch.autograd.grad(logits.sum(), looked_at)
        return logits.detach().cpu(), gradients.cpu()

    def _batches(self, phases: Sequence[Phase], given: Tree | None = None) -> Iterator[Batch]:
        """Yields a batch for each of the phases of each step; see ``BatchMaker`` and ``PrivateSteps``."""
        if self._private is not None:
            return self._private.batches(phases, given)
        return self._batch_maker.batches(self._assigned, phases, given, self._device)

    def _step(
        self,
        phase: Phase,
        batch: Batch,
        extra_loss: Callable[[str, nn.Module], Tensor] | None,
        gradient_hook: Callable[[str, nn.Module], None] | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        for name in phase.networks:
            self._steppers[name].zero_grad()
        loss, watched = self._loss(phase, batch)
        for name in phase.networks:
            if extra_loss is not None:
                loss = loss + extra_loss(name, self._networks[name])
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        for name in phase.networks:
            if gradient_hook is not None:
                gradient_hook(name, self._networks[name])
            self._steppers[name].step()
            if phase.after is not None:
                with torch.no_grad():
                    phase.after(self._networks[name])
        return loss.detach(), watched

    def _loss(self, phase: Phase, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the phase's loss and what is worth watching; zero and nothing where gradients are set with noise."""
        if self._private is None or not phase.uses_examples:
            with self.autocast():
                loss, watched = phase.loss(self._networks, batch)
            return loss.float(), watched
        self._private.take_gradients(phase, batch, self.autocast())
        return torch.zeros((), device=self._device), {}

    def _all_slots(self) -> dict[str, Tensor]:
        return {
            f"{name}.{slot}": value for name, stepper in self._steppers.items() for slot, value in stepper.slots.items()
        }

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context in which losses are computed."""
        mixed = self._local.mixed_precision and self._device.type == "cuda"
        return torch.autocast(self._device.type, dtype=torch.bfloat16) if mixed else nullcontext()

    def _freeze_all_but(self, networks: Collection[str]) -> None:
        for name, parameters in self._parameters.items():
            active = name in networks
            for parameter in parameters:
                parameter.requires_grad = active

    @property
    def _assigned(self) -> Assignment:
        assert self._assignment is not None, "assign() comes first"
        return self._assignment
