"""How well networks seem to know examples: the score by which whoever holds them guesses what they were trained on."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from common.errors import ConfigError
from common.examples import ExampleSpec
from common.generation import load_sampler
from common.metrics.next_token import tally
from common.models import Model
from common.objectives import Batch, DrawSource, Objective, Phase
from common.seeding import torch_generator
from common.tree import Tree, select

_NUM_DRAWS = 16  # of what a loss takes beside an example, the same for all of them
_CHUNK = 250  # examples at once: bounds memory
_TEXT = "text"


def why_no_signal(model: Model, objective: Objective, weights: Tree) -> str:
    """Returns why ``signals`` has nothing to look at, in words that follow a colon; empty: it does."""
    held = {key.partition(".")[0] for key in weights}
    if lacking := [name for name in _looked_at(model, objective) if name not in held]:
        return f"it holds no {' and no '.join(lacking)}"
    return ""


def signals(
    model: Model,
    objective: Objective,
    spec: ExampleSpec,
    weights: Tree,
    stored: Tensor,
    labels: Tensor,
    seed: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Returns a score of each example, float64 (N,), on the CPU; high ones of those that the networks seem to know.

    - Of a GAN, the discriminator's logit (Hayes et al. 2019, arXiv:1705.07663, LOGAN).
    - Of text, its log-likelihood a character (Yeom et al. 2018, arXiv:1709.01604).
    - Of any other family minus the loss that it was trained with, at 16 fixed draws of noise and times: of a
      variational autoencoder the evidence lower bound (Hilprecht et al. 2019, arXiv:1906.03006), of a flow the error of
      its velocity (Matsumoto et al. 2023, arXiv:2302.03262, of diffusion).

    Args:
        model: The architecture.
        objective: What it was trained with.
        spec: Of the examples.
        weights: Entries ``<network>.<parameter>``; those that are not looked at are ignored.
        stored: Examples (N, ...), as they are stored.
        labels: (N,), int64.
        seed: Of the fixed draws.
        device: Where to compute.

    Raises:
        ConfigError: ``weights`` lack a network that this takes, see ``why_no_signal``.
    """
    if reason := why_no_signal(model, objective, weights):
        raise ConfigError(f"no score of how well the networks know an example: {reason}")
    if spec.kind == _TEXT:
        characters, _, nats = tally(load_sampler(model, spec, weights, device), stored, labels).unbind(1)
        return -nats / characters.clamp_min(1)
    networks = model.build(spec, seed=0)
    used = {name: networks[name] for name in _looked_at(model, objective)}
    nn.ModuleDict(used).load_state_dict(select(weights, tuple(used)))
    for network in used.values():
        network.to(device).eval().requires_grad_(False)
    if model.roles.adversaries:
        (judge,) = used.values()
        return _in_chunks(_Alone(judge) if model.judges_batches else judge, spec, stored, labels, device)
    phase = _phase(objective)
    source = DrawSource(
        _NUM_DRAWS, torch_generator(seed, "audit"), labels[:1], model.sampler(networks).noise_shape, spec.shape
    )
    draws = {name: values.to(device) for name, values in objective.draw(source).items()}
    return _in_chunks(_Loss(phase, nn.ModuleDict(used), draws), spec, stored, labels, device)


class _Alone:
    """A discriminator's logit of each example of a batch, in a batch of its own."""

    def __init__(self, judge: nn.Module) -> None:
        self._judge = judge

    def __call__(self, examples: Tensor, labels: Tensor) -> Tensor:
        def alone(example: Tensor, label: Tensor) -> Tensor:
            logits: Tensor = self._judge(example[None], label[None])
            return logits[0]

        return torch.func.vmap(alone)(examples, labels)


class _Loss:
    """Minus a phase's loss on each example of a batch, alone, a mean over fixed draws."""

    def __init__(self, phase: Phase, networks: nn.ModuleDict, draws: dict[str, Tensor]) -> None:
        self._phase, self._networks, self._draws = phase, dict(networks.items()), draws

    def __call__(self, examples: Tensor, labels: Tensor) -> Tensor:
        unused = torch.Generator()
        total = torch.zeros(len(examples), dtype=torch.float64, device=examples.device)
        for at in range(_NUM_DRAWS):
            draws = {name: values[at : at + 1] for name, values in self._draws.items()}

            def alone(example: Tensor, label: Tensor, draws: dict[str, Tensor] = draws) -> Tensor:
                batch = Batch(example[None], label[None], draws, unused)
                return self._phase.loss(self._networks, batch)[0]

            total -= torch.func.vmap(alone)(examples, labels).double()
        return total / _NUM_DRAWS


@torch.no_grad()
def _in_chunks(
    score: Callable[[Tensor, Tensor], Tensor],
    spec: ExampleSpec,
    stored: Tensor,
    labels: Tensor,
    device: torch.device | str,
) -> Tensor:
    parts: list[Tensor] = [torch.zeros(0, dtype=torch.float64)]
    for rows, those in zip(torch.split(stored, _CHUNK), torch.split(labels, _CHUNK), strict=True):
        parts.append(score(spec.to_input(rows.to(device)), those.to(device)).double().cpu())
    return torch.cat(parts)


def _looked_at(model: Model, objective: Objective) -> Sequence[str]:
    """Returns the networks whose say is the score."""
    if model.kind == _TEXT:
        return model.roles.published
    return model.roles.adversaries or _phase(objective).networks


def _phase(objective: Objective) -> Phase:
    return next(phase for phase in objective.phases() if phase.uses_examples)
