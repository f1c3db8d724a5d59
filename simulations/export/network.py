"""A generator as one graph of plain operations on tensors, with its weights whole or packed into fewer bytes."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from common.examples import TextSpec
from common.examples.text import END_TOKEN
from common.generation import Mixture
from common.models import Sampler

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")

_LEVELS = 127
_MANTISSA, _BIAS, _SIGN = 2**23, 127, 2**31  # of float32
_PRIME = 2**31 - 1  # of Mixture's hash
_NEVER = -1e4  # the logarithm of a probability of 0, without an infinity that runtimes treat in different ways


def portable(generator: Sampler, precision: Precision) -> Sampler:
    """Returns a generator that can be traced into one graph: the same noise and labels, the same images.

    Args:
        generator: A network, or a ``Mixture`` of them; see ``common.generation.load_sampler``.
        precision: How weights are stored; see ``Packed``.
    """
    whole = SIGNATURES[generator.spec.kind].graph(generator)
    return whole if precision == "float32" else Packed(whole, precision)


@dataclass(frozen=True)
class Signature:
    """What a graph of one kind of example takes and gives.

    Attributes:
        inputs: Names of the two inputs.
        output: Name of the output.
        graph: What can be traced, for a sampler.
        example: Inputs of that, to trace it with.
        dynamic: Which dimensions of each input may have any size, with their names and smallest sizes.
    """

    inputs: tuple[str, str]
    output: str
    graph: Callable[[Sampler], Sampler]
    example: Callable[[Sampler], tuple[Tensor, Tensor]]
    dynamic: tuple[Mapping[int, tuple[str, int]], Mapping[int, tuple[str, int]]]


class WholeMixture(Sampler):
    """A mixture of generators that all make every image, of which the chosen one's is taken.

    ``Mixture`` itself cannot be traced, as each of its generators gets only its own rows, and as it looks at the bits
    of noise, for which ONNX has no operation that runtimes know. Here the bits are computed from the numbers, so the
    choices are the same (but for noise of -0 or below 1.2e-38, which no normal draw gives). It takes as many times
    the time as there are generators.

    Args:
        mixture: Shared, not copied.
    """

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture
        self.spec, self.noise_shape = mixture.spec, mixture.noise_shape

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Returns images (B, C, S, S) in [-1, 1] of noise (B, Z) and labels (B,)."""
        hashed = ((bits_of(noise.flatten(1)) % _PRIME) * self.mixture.powers) % _PRIME
        uniforms = (hashed.sum(1) % _PRIME).double() / _PRIME
        chosen = (self.mixture.bounds[labels] <= uniforms[:, None]).sum(1)
        made = torch.stack([generator(noise, labels) for generator in self.mixture.generators], dim=1)
        places = chosen.view(-1, *[1] * (made.ndim - 1)).expand(-1, 1, *made.shape[2:])
        return made.gather(1, places).squeeze(1)


class FullSequence(Sampler):
    """What a sampler of text expects after each token: the graph that other programs write with.

    Args:
        sampler: A ``TextSampler``, or a mixture of them, whose expectations are added up by their shares of the label.
            Its networks are shared, not copied.
    """

    spec: TextSpec

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        assert isinstance(sampler.spec, TextSpec)
        self.spec, self.noise_shape = sampler.spec, sampler.noise_shape
        samplers: Any = sampler.generators if isinstance(sampler, Mixture) else [sampler]
        self.networks = nn.ModuleList(each.network for each in samplers)
        log_shares = None
        if isinstance(sampler, Mixture):
            shares = sampler.bounds.diff(dim=1, prepend=sampler.bounds.new_zeros(len(sampler.bounds), 1))
            log_shares = shares.log().float().clamp_min(_NEVER)
        self.log_shares: Tensor | None
        self.register_buffer("log_shares", log_shares)

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Returns logits (B, L, num_tokens) of what follows each of the tokens (B, L), for labels (B,)."""
        if self.log_shares is None:
            logits: Tensor = self.networks[0](tokens, labels)
            return logits
        expected = torch.stack([network(tokens, labels).log_softmax(-1) for network in self.networks], dim=1)
        return (expected + self.log_shares[labels][:, :, None, None]).logsumexp(1)


def _noise_and_labels(sampler: Sampler) -> tuple[Tensor, Tensor]:
    return torch.zeros(2, *sampler.noise_shape), torch.zeros(2, dtype=torch.int64)


def _tokens_and_labels(sampler: Sampler) -> tuple[Tensor, Tensor]:
    return torch.full((2, 3), END_TOKEN), torch.zeros(2, dtype=torch.int64)


_BATCH = {0: ("batch", 1)}

SIGNATURES: dict[str, Signature] = {
    "images": Signature(
        ("noise", "labels"),
        "images",
        lambda sampler: WholeMixture(sampler) if isinstance(sampler, Mixture) else sampler,
        _noise_and_labels,
        (_BATCH, _BATCH),
    ),
    "text": Signature(
        ("tokens", "labels"), "logits", FullSequence, _tokens_and_labels, ({**_BATCH, 1: ("length", 2)}, _BATCH)
    ),
}
"""By kind of example."""


def bits_of(values: Tensor) -> Tensor:
    """Returns the bits of float32 numbers, any shape, as int32 would read them, in int64; by arithmetic alone.

    Numbers are normal or 0, and 0 is not -0.
    """
    size = values.double().abs()
    known = torch.where(size > 0, size, torch.ones_like(size))
    exponent = known.log2().floor()
    mantissa = known * torch.pow(2.0, -exponent)
    high, low = (mantissa >= 2).double(), (mantissa < 1).double()  # log2 may round over a power of 2
    exponent = exponent + high - low
    mantissa = mantissa * (1 - high / 2) * (1 + low)
    bits = ((exponent + _BIAS) * _MANTISSA + (mantissa - 1) * _MANTISSA).long()
    bits = torch.where(size > 0, bits, torch.zeros_like(bits))
    return torch.where(values < 0, bits - _SIGN, bits)


class Packed(Sampler):
    """A network whose weights are stored in fewer bytes and computed with in float32: smaller, not faster.

    ``float16`` rounds every weight. ``int8`` takes each weight of two dimensions or more to a whole number from -127
    to 127, times a float32 scale for each row of the first dimension; others (biases, norms) stay as they are.

    Args:
        network: Shared are the tensors that are not packed.
        precision: ``float16`` or ``int8``.
    """

    def __init__(self, network: Sampler, precision: Precision) -> None:
        super().__init__()
        self.spec, self.noise_shape = network.spec, network.noise_shape
        self._names = [name for name, _ in network.named_parameters()] + [name for name, _ in network.named_buffers()]
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            packed: Tensor = value.detach()
            if value.dtype == torch.float32 and precision == "float16":
                packed = packed.half()
            elif value.dtype == torch.float32 and value.ndim > 1:
                packed, scale = _rounded(packed)
                self.register_buffer(_scale_of(name), scale)
            self.register_buffer(_flat(name), packed)
        self._plan = (copy.deepcopy(network).to("meta"),)  # in a tuple, so that its tensors are none of this module's

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Returns what the network makes of its two inputs."""
        result: Tensor = torch.func.functional_call(self._plan[0], self.weights(), (noise, labels))
        return result

    def weights(self) -> dict[str, Tensor]:
        """Returns the weights that are computed with, by their names in the network."""
        found = dict(self.named_buffers())
        weights = {}
        for name in self._names:
            value = found[_flat(name)]
            value = value.float() if value.dtype in (torch.float16, torch.int8) else value
            weights[name] = value * found[_scale_of(name)] if _scale_of(name) in found else value
        return weights


def _rounded(value: Tensor) -> tuple[Tensor, Tensor]:
    scale = value.flatten(1).abs().amax(1) / _LEVELS
    scale = torch.where(scale > 0, scale, torch.ones_like(scale)).view(-1, *[1] * (value.ndim - 1))
    return (value / scale).round().to(torch.int8), scale


def _flat(name: str) -> str:
    return name.replace(".", "__")  # a buffer's name holds no dot


def _scale_of(name: str) -> str:
    return f"{_flat(name)}__scale"
