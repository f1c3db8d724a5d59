"""Images from a trained generator: the same weights, labels and seed give the same images."""

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import DivergenceError
from common.examples import ExampleSpec
from common.models import Model, Sampler
from common.seeding import torch_generator
from common.threads import side_by_side
from common.tree import Tree, select

MIXTURE = "mixture"
MIXTURE_SHARES = f"{MIXTURE}.shares"

_PRIME, _MULTIPLIER = 2**31 - 1, 48271  # of the hash; products of two remainders fit into 63 bits
_BATCHES_AT_ONCE = 64  # whose noise is in memory together
_BATCH = 500  # images made at once: bounds memory; fixed, as a result's last bits may depend on it


def load_sampler(model: Model, spec: ExampleSpec, weights: Tree, device: torch.device | str = "cpu") -> Sampler:
    """Returns the sampler with ``weights``, ready to make examples.

    Args:
        model: The architecture.
        spec: Of the examples.
        weights: Entries ``<network>.<parameter>`` of the published networks; those of others are ignored. Or a mixture:
            ``mixture.<number>.<network>.<parameter>`` of each of its samplers, and ``mixture.shares`` (``Mixture``),
            whose rows are theirs in ascending order of the numbers.
        device: Where to make images.
    """
    if MIXTURE_SHARES in weights:
        members: dict[int, dict[str, Tensor]] = {}
        for key, value in weights.items():
            if key != MIXTURE_SHARES:
                _, number, name = key.split(".", 2)
                members.setdefault(int(number), {})[name] = value
        single = [load_sampler(model, spec, members[number], device) for number in sorted(members)]
        sampler: Sampler = Mixture(single, weights[MIXTURE_SHARES])
    else:
        networks = model.build(spec, seed=0)
        published = nn.ModuleDict({name: networks[name] for name in model.roles.published})
        published.load_state_dict(select(weights, model.roles.published))
        sampler = model.sampler(networks)
    return sampler.to(device).eval().requires_grad_(False)


class Mixture(Sampler):
    """Several samplers as one: a sample is made by one of them, drawn in proportion to its share of the label.

    Which one follows from the bits of the sample's noise vector (and from the label), so it does not depend on what
    else is in the batch, nor on the device.

    Args:
        generators: At least one.
        shares: float64 (number of generators, number of classes), >= 0. A class without any share takes the sums over
            all classes, and generators without any share are equally likely.
    """

    def __init__(self, generators: Sequence[Sampler], shares: Tensor) -> None:
        super().__init__()
        self.generators = nn.ModuleList(generators)
        self.spec, self.noise_shape = generators[0].spec, generators[0].noise_shape
        columns = shares.double().cpu()
        whole = columns.sum(1, keepdim=True) if bool(columns.any()) else torch.ones(len(columns), 1).double()
        columns = torch.where(columns.sum(0, keepdim=True) > 0, columns, whole)
        bounds = columns.cumsum(0)
        self.bounds: Tensor
        self.register_buffer("bounds", (bounds / bounds[-1]).T.contiguous())
        powers = [pow(_MULTIPLIER, power, _PRIME) for power in range(1, math.prod(self.noise_shape) + 1)]
        self.powers: Tensor
        self.register_buffer("powers", torch.tensor(powers))

    def adapted(self, **options: float | None) -> "Mixture":
        """See ``Sampler.adapted``: each of the samplers is."""
        adapted = copy.copy(self)
        adapted._modules = {"generators": nn.ModuleList(generator.adapted(**options) for generator in self._members())}
        return adapted

    def choose(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Returns which generator makes each sample, int64 (B,): a hash of its noise, modulo a prime, picks it.

        Of noise (B, T) for text of any length, the first numbers are looked at, as many as ``noise_shape`` has; zeros
        stand for those that are missing.
        """
        numbers = noise.float().flatten(1)[:, : len(self.powers)]
        numbers = nn.functional.pad(numbers, (0, len(self.powers) - numbers.shape[1]))
        bits = numbers.contiguous().view(torch.int32).long() % _PRIME
        # In float64, as float32 rounds the highest of these to 1, which no generator's share holds.
        uniforms = (((bits * self.powers) % _PRIME).sum(1) % _PRIME).double() / _PRIME
        return torch.searchsorted(self.bounds[labels], uniforms[:, None], right=True).squeeze(1)

    def forward(self, noise: Tensor, labels: Tensor, prompts: Tensor | None = None, **options: Any) -> Tensor:
        """Returns examples (B, ...) of noise (B, *noise_shape) and labels (B,); see the samplers for what else."""
        chosen = self.choose(noise, labels)
        rows = [(chosen == index).nonzero().squeeze(1) for index in range(len(self.generators))]
        made = []
        for generator, own in zip(self.generators, rows, strict=True):
            if len(own):
                given = options if prompts is None else {**options, "prompts": prompts[own]}
                made.append(generator(noise[own], labels[own], **given))
        examples = torch.cat(made)
        return torch.empty_like(examples).index_copy_(0, torch.cat(rows), examples)

    def log_probabilities(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Returns what samplers of text expect together after each token but the last, by their shares of the label.

        That is what is expected of the next token of a given text: which of them goes on with it does not depend on
        the text. See ``TextSampler.log_probabilities`` for the shapes.
        """
        shares = self.bounds.diff(dim=1, prepend=self.bounds.new_zeros(len(self.bounds), 1))[labels]
        expected = torch.stack([generator.log_probabilities(tokens, labels) for generator in self._members()])
        return (expected.double() + shares.T[:, :, None, None].log()).logsumexp(0).float()

    def _members(self) -> list[Any]:
        return list(self.generators)


def generate(generator: Sampler, labels: Tensor, seed: int, shape: tuple[int, ...] | None = None) -> Tensor:
    """Returns one image a label: uint8 (N, C, S, S) on the CPU.

    Args:
        generator: Makes the examples.
        labels: int64 (N,), in [0, num_classes).
        seed: Latents follow from it; a call for more images begins with those of a call for fewer.
        shape: Of the noise of one image; None: ``generator.noise_shape``.

    Raises:
        DivergenceError: The generator's output is not finite.
    """
    images = list(in_parts(generator, labels, seed, shape))
    return torch.cat(images) if images else torch.empty(0, dtype=torch.uint8)


def generate_on_all_cores(generator: Sampler, labels: Tensor, seed: int) -> Tensor:
    """Returns what ``generate`` returns, to the bit: its batches are shared out over the cores, where it is on the CPU.

    Raises:
        DivergenceError: The generator's output is not finite.
    """
    if generator.device.type != "cpu" or len(labels) <= _BATCH:
        return generate(generator, labels, seed)
    pairs = zip(_noise(len(labels), generator.noise_shape, seed), torch.split(labels, _BATCH), strict=True)
    images: list[Tensor] = []
    while tasks := [partial(_made, generator, *pair) for pair in itertools.islice(pairs, _BATCHES_AT_ONCE)]:
        images += side_by_side(tasks)
    return torch.cat(images)


def in_parts(generator: Sampler, labels: Tensor, seed: int, shape: tuple[int, ...] | None = None) -> Iterator[Tensor]:
    """Yields the images of ``generate`` as they are made, in order, a few hundred at a time.

    Raises:
        DivergenceError: The generator's output is not finite.
    """
    drawn = _noise(len(labels), shape or generator.noise_shape, seed)
    for chunk, noise in zip(torch.split(labels, _BATCH), drawn, strict=True):
        yield _made(generator, noise, chunk)


@torch.inference_mode()
def _made(generator: Sampler, noise: Tensor, labels: Tensor) -> Tensor:
    """Returns the examples of a batch as they are stored, on the CPU; there may be more noise than labels."""
    device = generator.device
    made = generator(noise[: len(labels)].to(device), labels.to(device))
    if not bool(torch.isfinite(made).all()):
        raise DivergenceError("the generator's images are not finite")
    return generator.spec.to_stored(made).cpu()


def draw_noise(num: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Returns the noise that ``generate`` makes ``num`` images of with this seed: float32 (num, *shape)."""
    return torch.cat([*_noise(num, shape, seed), torch.empty(0, *shape)])[:num]


def _noise(num: int, shape: tuple[int, ...], seed: int) -> Iterator[Tensor]:
    """Yields noise for ``num`` images, float32 (_BATCH, *shape) each, the last of them maybe shorter.

    Fewer rows than ``_BATCH`` begin with the same numbers if there is a multiple of 16 of them, and none is of the 16
    that torch draws again at the end where the batch has none.
    """
    source = torch_generator(seed, "latents")
    for first in range(0, num, _BATCH):
        rows = -(-(num - first) // 16) * 16
        yield torch.randn(rows if rows <= _BATCH - 20 else _BATCH, *shape, generator=source)


def balanced_labels(num: int, classes: int | Sequence[int]) -> Tensor:
    """Returns ``num`` labels, int64 (num,), that run through the classes over and over: 0, 1, ..., or those given."""
    if isinstance(classes, int):
        return torch.arange(num) % classes
    return torch.tensor(classes, dtype=torch.int64)[torch.arange(num) % len(classes)]


def held_classes(counts: Iterable[Sequence[int] | None], num_classes: int) -> tuple[int, ...]:
    """Returns the classes that a generator can know: those that some client has images of.

    Args:
        counts: Of each client how many images of each class it holds; where it keeps that to itself, None, and then
            all classes may be known.
        num_classes: How many there are.
    """
    totals = [0] * num_classes
    for own in counts:
        if own is None:
            return tuple(range(num_classes))
        totals = [total + count for total, count in zip(totals, own, strict=True)]
    return tuple(label for label, total in enumerate(totals) if total) or tuple(range(num_classes))
