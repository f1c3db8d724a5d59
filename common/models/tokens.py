"""What models of text have in common: networks that say what comes next, and the sampler that writes with them."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from common.errors import ConfigError
from common.examples import ExampleSpec, TextSpec
from common.examples.text import END_TOKEN, NUM_SPECIAL, PAD_TOKEN, PREVIEW_LENGTH
from common.models.base import Embedding, Model, Roles, Sampler

_LOWER_TEMPERATURES = (0.7, 0.85)
"""Of the samples for people to look at, as shares of the sampler's own."""

_LAST_QUANTILE = 1 - 1e-12
"""Below 1, so that no noise is beyond the last token that has a probability."""


class TokenNetwork(nn.Module):
    """Tokens (B, L), int64, and labels (B,) to logits (B, L, num_tokens): of what comes after each.

    A logit depends on nothing but the tokens up to its place, and the label.
    """

    spec: TextSpec

    @abstractmethod
    def begin(self, labels: Tensor) -> Any:
        """Returns the state before the first token of texts with these labels (B,)."""

    @abstractmethod
    def advance(self, tokens: Tensor, labels: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Returns the logits (B, num_tokens) of what comes after one more token of each text (B,), and the new state.

        Up to ``spec.length - 1`` tokens they are those of ``forward``. Of a longer text at least the last half of as
        many are looked at.
        """


class TextModel(Model):
    """Base of the models of text: one network, which is published, and sampled from token by token."""

    kind: ClassVar[str] = TextSpec.kind
    roles: ClassVar[Roles] = Roles(("tokens",))
    family: ClassVar[str] = "language model"
    class_tables: ClassVar[tuple[str, ...]] = ("tokens.label.weight",)
    sampling: ClassVar[tuple[str, ...]] = ("temperature", "top_p")

    temperature: float = Field(1.0, ge=0.05, le=10, description="of samples: below 1 likely tokens are preferred")
    top_p: float = Field(1.0, gt=0, le=1, description="samples are of the likeliest tokens of this much probability")

    def sampler(self, networks: Mapping[str, nn.Module] | nn.ModuleDict) -> Sampler:
        network = networks["tokens"]
        assert isinstance(network, TokenNetwork)
        return TextSampler(network, self.temperature, self.top_p)


class TextSampler(Sampler):
    """Noise (B, T) and labels (B,) to T tokens of text (B, T), by the quantiles of the noise.

    Token t is the one at whose place in the vocabulary the distribution function, given the tokens before it, passes
    the standard normal quantile of noise t: inverse transform sampling, so the same noise gives the same text. After
    the end of a text there is padding. T may be any; by default it is that of the data's rows.

    Args:
        network: Says what comes next.
        temperature: What logits are divided by, positive.
        top_p: Keeps the likeliest tokens that have this probability together, in (0, 1] (Holtzman et al. 2020,
            arXiv 1904.09751).
    """

    spec: TextSpec

    def __init__(self, network: TokenNetwork, temperature: float = 1.0, top_p: float = 1.0) -> None:
        super().__init__()
        self.spec, self.noise_shape = network.spec, network.spec.shape
        self.network, self.temperature, self.top_p = network, temperature, top_p
        self.way = f"temperature {temperature:.3g}"

    @property
    def preview_shape(self) -> tuple[int, ...]:
        """Some lines, where rows are shorter than that; see ``Sampler.preview_shape``."""
        return (max(self.spec.length, PREVIEW_LENGTH),)

    def variants(self) -> dict[str, Sampler]:
        """Returns samplers at lower temperatures; see ``Sampler.variants``."""
        cooler = [TextSampler(self.network, share * self.temperature, self.top_p) for share in _LOWER_TEMPERATURES]
        return {sampler.way: sampler for sampler in cooler}

    def adapted(self, **options: float | None) -> "TextSampler":
        """Returns this with another ``temperature`` or ``top_p``; None: as it is. See ``Sampler.adapted``."""
        own = {"temperature": self.temperature, "top_p": self.top_p}
        super().adapted(**{name: value for name, value in options.items() if name not in own})
        return TextSampler(self.network, **own | {name: it for name, it in options.items() if it is not None})

    def forward(
        self,
        noise: Tensor,
        labels: Tensor,
        prompts: Tensor | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Returns the tokens (B, T), int64, that the noise (B, T) chooses.

        Args:
            noise: Standard normal.
            labels: (B,), int64.
            prompts: Tokens (B, P), int64, that the texts go on from and that are not part of the result, each followed
                by padding up to P; None: texts begin.
            on_step: Called before each token; what it raises ends the work.
        """
        num = noise.shape[1]
        given = labels.new_empty(len(labels), 0) if prompts is None else prompts
        prompts = nn.functional.pad(given, (0, 1), value=PAD_TOKEN)
        rows, places = (torch.arange(size, device=labels.device) for size in prompts.shape)
        lengths = torch.where(prompts != PAD_TOKEN, places + 1, 0).amax(1)
        quantiles = torch.special.ndtr(noise.double()).clamp_max(_LAST_QUANTILE)
        written = torch.full_like(noise, PAD_TOKEN, dtype=torch.int64)
        state, given = self.network.begin(labels), torch.full_like(labels, END_TOKEN)
        done = torch.zeros_like(labels, dtype=torch.bool)
        for step in range(int(lengths.max()) + num):
            on_step()
            logits, state = self.network.advance(given, labels, state)
            place = step - lengths  # of the token among those that the noise chooses; before 0, the prompt has it
            chosen = self._chosen(logits, quantiles[rows, place.clamp(0, num - 1)])
            writes = (place >= 0) & (place < num) & ~done
            written[rows[writes], place[writes]] = chosen[writes]
            done = done | (writes & (chosen == END_TOKEN)) | (place >= num - 1)
            given = torch.where(place < 0, prompts[:, min(step, prompts.shape[1] - 1)], chosen)
            if bool(done.all()):
                break
        return written

    def _chosen(self, logits: Tensor, quantiles: Tensor) -> Tensor:
        """Returns the tokens (B,), of the distributions of logits (B, num_tokens), at quantiles (B,)."""
        ends = self._probabilities(logits).cumsum(-1)
        chosen = torch.searchsorted(ends, quantiles[:, None] * ends[:, -1:], right=True).squeeze(1)
        return chosen.clamp_max(self.spec.num_tokens - 1)

    def log_probabilities(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Returns what is expected after each token but the last: (B, L - 1, num_tokens), natural logarithms.

        Args:
            tokens: (B, L), int64.
            labels: (B,), int64.
        """
        logits: Tensor = self.network(tokens[:, :-1], labels)
        return logits.float().log_softmax(-1)

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Returns the probabilities (B, num_tokens), float64, that samples are drawn from; not all of them sum to 1."""
        scaled = logits.double() / self.temperature
        scaled[:, PAD_TOKEN] = -math.inf
        scaled[:, END_TOKEN + 1 : NUM_SPECIAL] = -math.inf
        likely = scaled.softmax(-1)
        if self.top_p < 1:
            sorted_, order = likely.sort(dim=-1, descending=True, stable=True)
            before = sorted_.cumsum(-1) - sorted_
            likely = torch.zeros_like(likely).scatter(-1, order, sorted_.masked_fill(before >= self.top_p, 0.0))
        return likely


class SmallLinear(nn.Linear):
    """A linear layer whose initial weights are normal with variance 1 / (share inputs), and whose bias is zero."""

    def __init__(self, inputs: int, outputs: int, share: int = 1) -> None:
        self.share = share
        super().__init__(inputs, outputs)

    def reset_parameters(self) -> None:
        """Leaves the weights as they are."""

    def init_weights(self, generator: torch.Generator) -> None:
        """Draws the weights; see ``common.models.base.initialise``."""
        self.weight.normal_(0.0, 1.0 / math.sqrt(self.share * self.in_features), generator=generator)
        self.bias.zero_()


class SmallEmbedding(Embedding):
    """An embedding that starts normal with a standard deviation of ``std``: labels say little at first."""

    def __init__(self, num: int, length: int, std: float = 0.02) -> None:
        self.std = std
        super().__init__(num, length)

    def init_weights(self, generator: torch.Generator) -> None:
        """Draws the weights; see ``common.models.base.initialise``."""
        self.weight.normal_(0.0, self.std, generator=generator)


def require_text(model: str, spec: ExampleSpec) -> TextSpec:
    """Returns the specification of texts.

    Raises:
        ConfigError: The examples are of another kind.
    """
    if not isinstance(spec, TextSpec):
        raise ConfigError(f"model {model} makes text, the data are {spec}: take a model of theirs")
    return spec
