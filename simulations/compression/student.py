"""Which smaller model a trained generator is made into: its options, checked against what can imitate the generator."""

from dataclasses import dataclass

import torch
from torch import nn

from common.components import parse
from common.errors import ConfigError
from common.generation import Mixture
from common.models import MODELS, Model, Sampler
from common.seeding import derive_seed
from common.tree import Tree
from simulations.runs.generator import LoadedGenerator


@dataclass(frozen=True)
class Student:
    """A generator that is to be trained.

    Attributes:
        model: What it is built of.
        networks: All networks of the model, those that only training needs among them, with weights as they begin.
        sampler: Shares the weights of the published ones.
        begins_trained: Whether its weights are those of the teacher, so that nothing needs to be learned.
    """

    model: Model
    networks: nn.ModuleDict
    sampler: Sampler
    begins_trained: bool

    def published(self) -> dict[str, nn.Module]:
        """Returns the networks that samples are made with."""
        return {name: self.networks[name] for name in self.model.roles.published}

    def weights(self) -> Tree:
        """Returns the weights of the published networks, as a checkpoint has them."""
        return {
            f"{name}.{key}": value.detach().clone().contiguous()
            for name, network in self.published().items()
            for key, value in network.state_dict().items()
        }


def make_student(trained: LoadedGenerator, to: str, prune: float, seed: int) -> Student:
    """Returns the generator that imitates a trained one.

    Args:
        trained: The teacher.
        to: Options of its model that the student has others of, as ``width=8``; empty: the same model.
        prune: Share of the student's weights that will be zero.
        seed: Of the weights that do not come from the teacher.

    Raises:
        ConfigError: The teacher's kind cannot be imitated, ``to`` names no option of its model, changes what goes in
            or what labels mean, or makes it no smaller.
    """
    _require_imitable(trained)
    old = trained.config.model_component
    model = _with_options(old, to)
    networks = model.build(trained.spec, derive_seed(seed, "student"))
    sampler = model.sampler(networks)
    if (other := sampler.noise_shape) != (own := trained.generator.noise_shape):
        raise ConfigError(
            f"--to {to!r}: it would take noise of shape {other}, and this run's generator takes {own}: "
            "the student must make the same of the same noise, so leave that option out"
        )
    if model.conditional != old.conditional:
        raise ConfigError(f"--to {to!r}: a student looks at labels as this run's generator does: leave conditional out")
    small, large = count(sampler), count(trained.generator)
    alone = not isinstance(trained.generator, Mixture)
    same = model == old and alone
    if small >= large and not (same and prune):
        if not to:
            raise ConfigError("nothing to do: name a smaller model (--to width=8), or weights to drop (--prune 0.5)")
        raise ConfigError(
            f"--to {to!r}: a generator of {small:,} weights, and this run's has {large:,}: choose a smaller one"
        )
    if alone:
        _begin_with(sampler, trained.generator)
    return Student(model, networks, sampler, same)


@torch.no_grad()
def _begin_with(student: nn.Module, teacher: nn.Module) -> None:
    """Gives a student the first channels of its teacher's layers, where it has the same layers with fewer: all it has.

    A student that begins so is nearer to its teacher after as many steps (docs/exports.md has figures).
    """
    known = teacher.state_dict()
    for key, value in student.state_dict().items():
        of_teacher = known.get(key)
        if of_teacher is None or of_teacher.ndim != value.ndim:
            continue
        if all(mine <= theirs for mine, theirs in zip(value.shape, of_teacher.shape, strict=True)):
            value.copy_(of_teacher[tuple(slice(size) for size in value.shape)])


def count(network: nn.Module) -> int:
    """Returns how many weights a network has."""
    return sum(weights.numel() for weights in network.parameters())


def _require_imitable(trained: LoadedGenerator) -> None:
    """Checks that a generator maps noise to examples in one pass of networks that were trained in steps.

    Raises:
        ConfigError: It does not; says what to do instead.
    """
    model = trained.config.model_component
    name = model.component_name()
    if trained.spec.kind == "text":
        raise ConfigError(
            f"this run's model, {name}, writes text character by character: there is no map from noise to examples "
            "that a smaller one could imitate; fedgan export --to safetensors stores it in a quarter of the bytes"
        )
    if model.fitting != "steps":
        raise ConfigError(f"this run's model, {name}, is computed from {model.fitting}, not trained in steps")
    if model.sampling:
        raise ConfigError(
            f"samples of {name} take its network several times, and a student that makes them in one pass is not made "
            "here: fewer steps are faster (fedgan generate --sampler), and exports in int8 smaller"
        )


def _with_options(model: Model, to: str) -> Model:
    """Returns the model with other options.

    Raises:
        ConfigError: Another model, an option that it does not have, or a value outside its range.
    """
    name, words = model.component_name(), to.split()
    if words and "=" not in words[0]:
        if words[0] != name:
            known = ", ".join(field.alias or key for key, field in type(model).model_fields.items())
            raise ConfigError(
                f"--to {to!r}: the student is a {name} as the run, with other options, as width=8; known: {known}"
            )
        words = words[1:]
    chosen = parse("--to", {name: type(model)}, " ".join([name, *words]))
    changes = {option: getattr(chosen, option) for option in chosen.model_fields_set}
    return parse("--to", MODELS, model.model_copy(update=changes).spec())
