"""A decoder-only transformer over characters or bytes."""

import math
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from common.errors import ConfigError
from common.examples import ExampleSpec, TextSpec
from common.models.base import Embedding
from common.models.tokens import SmallEmbedding, SmallLinear, TextModel, TokenNetwork, require_text

_ROTARY_BASE = 10_000.0


class Transformer(TextModel):
    """Says of each token, by those before it, which one comes next; and writes text by that.

    Attention over the tokens of a row (rotary positions) and a layer of four times the width, each behind a
    normalisation and a short causal convolution, and added to what comes in. Where there are labels, a vector of the
    label is added to each token's.
    """

    source: ClassVar[str] = (
        "Radford et al. 2019 (GPT-2: decoder, normalisation before, initial weights); rotary positions: Su et al. 2021 "
        "(arXiv 2104.09864); RMSNorm: Zhang, Sennrich 2019 (arXiv 1910.07467); short convolutions: So et al. 2021 "
        "(arXiv 2109.08668), here before the products"
    )
    layers: int = Field(4, ge=1, le=48, description="blocks of attention and a layer")
    heads: int = Field(4, ge=1, le=64, description="attentions beside each other")
    width: int = Field(128, ge=8, le=4096, description="length of a token's vector, a multiple of twice the heads")

    mixing: int = Field(
        4,
        ge=1,
        le=16,
        description="places, its own among them, that each adds up before attention and before the layer",
    )

    def networks(self, spec: ExampleSpec) -> dict[str, nn.Module]:
        text = require_text("transformer", spec)
        if self.width % (2 * self.heads):
            raise ConfigError(f"model transformer: width={self.width} is no multiple of twice heads={self.heads}")
        num_classes = text.num_classes if self.conditional else 0
        return {"tokens": Decoder(text, self.layers, self.heads, self.width, self.mixing, num_classes)}


class Decoder(TokenNetwork):
    """See ``TokenNetwork``; ``num_classes=0``: labels are not looked at."""

    def __init__(self, spec: TextSpec, layers: int, heads: int, width: int, mixing: int, num_classes: int) -> None:
        super().__init__()
        self.spec, self.per_head = spec, width // heads
        self.token = TokenEmbedding(spec.num_tokens, width)
        self.label = SmallEmbedding(num_classes, width) if num_classes > 1 else None
        self.blocks = nn.ModuleList([Block(width, heads, layers, mixing) for _ in range(layers)])
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        vectors = self._embedded(tokens, labels)
        turn = rotation(0, tokens.shape[-1], self.per_head, vectors)
        for block in self.blocks:
            vectors, _ = block(vectors, turn, None)
        return self._logits(vectors)

    def begin(self, labels: Tensor) -> "Memory":
        return Memory([None for _ in self.blocks], [])

    def advance(self, tokens: Tensor, labels: Tensor, state: "Memory") -> tuple[Tensor, "Memory"]:
        context = self.spec.length - 1
        if len(state.tokens) == context:  # begins again with the second half of what it has seen
            kept = torch.stack([*state.tokens[context - context // 2 :], tokens], dim=1)
            return self._read(kept, labels, self.begin(labels))
        return self._read(tokens[:, None], labels, state)

    def _read(self, tokens: Tensor, labels: Tensor, state: "Memory") -> tuple[Tensor, "Memory"]:
        """Returns the logits after the last of some further tokens (B, L), and the new state."""
        vectors = self._embedded(tokens, labels)
        turn = rotation(len(state.tokens), tokens.shape[1], self.per_head, vectors)
        caches: list[Cache | None] = []
        for block, cache in zip(self.blocks, state.caches, strict=True):
            vectors, grown = block(vectors, turn, cache)
            caches.append(grown)
        return self._logits(vectors[:, -1]), Memory(caches, [*state.tokens, *tokens.unbind(1)])

    def _embedded(self, tokens: Tensor, labels: Tensor) -> Tensor:
        vectors: Tensor = self.token(tokens)
        return vectors if self.label is None else vectors + self.label(labels)[..., None, :]

    def _logits(self, vectors: Tensor) -> Tensor:
        return F.linear(self.norm(vectors), self.token.weight)


class Memory:
    """What a decoder keeps of the tokens that it has read: a cache of each block, and the tokens."""

    def __init__(self, caches: "list[Cache | None]", tokens: list[Tensor]) -> None:
        self.caches, self.tokens = caches, tokens


class Cache(NamedTuple):
    """What a block keeps: keys and values (B, heads, L, per head), and the last vectors that went into its parts."""

    keys: Tensor
    values: Tensor
    attention: Tensor
    layer: Tensor


class Block(nn.Module):
    """Vectors (B, L, W) to vectors (B, L, W): attention to what came before, then a layer of four times the width."""

    def __init__(self, width: int, heads: int, layers: int, mixing: int) -> None:
        super().__init__()
        self.heads, self.per_head = heads, width // heads
        self.before = nn.RMSNorm(width, eps=1e-5)
        self.mix = Mixing(width, mixing)
        self.attention = SmallLinear(width, 3 * width)
        self.out = SmallLinear(width, width, share=2 * layers)
        self.between = nn.RMSNorm(width, eps=1e-5)
        self.mix_again = Mixing(width, mixing)
        self.wide = SmallLinear(width, 4 * width)
        self.narrow = SmallLinear(4 * width, width, share=2 * layers)

    def forward(self, vectors: Tensor, turn: tuple[Tensor, Tensor], cache: Cache | None) -> tuple[Tensor, Cache]:
        mixed, last = self.mix(self.before(vectors), None if cache is None else cache.attention)
        parts = self.attention(mixed).unflatten(-1, (3, self.heads, self.per_head))
        queries, keys, values = (part.transpose(-3, -2) for part in parts.unbind(-3))
        queries, keys = turned(queries, turn), turned(keys, turn)
        if cache is not None:
            keys, values = torch.cat([cache.keys, keys], dim=-2), torch.cat([cache.values, values], dim=-2)
        looked = attended(queries, keys, values)
        vectors = vectors + self.out(looked.transpose(-3, -2).flatten(-2))
        mixed, last_again = self.mix_again(self.between(vectors), None if cache is None else cache.layer)
        return vectors + self.narrow(F.gelu(self.wide(mixed))), Cache(keys, values, last, last_again)


class Mixing(nn.Module):
    """Adds to each vector those of the few places before it, coordinate by coordinate: a causal depthwise convolution.

    What an attention has to find out first, which tokens came just before, is there at once. Of ``num`` places, the
    vector's own among them; 1: it has no weights, and changes nothing.
    """

    def __init__(self, width: int, num: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num - 1, width)) if num > 1 else None

    def forward(self, vectors: Tensor, last: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the sums (..., L, W), and the last vectors, which those of further tokens go on from."""
        if self.weight is None:
            return vectors, vectors[..., :0, :]
        num = len(self.weight)
        padded = F.pad(vectors, (0, 0, num, 0)) if last is None else torch.cat([last, vectors], dim=-2)
        mixed = vectors
        for back, weight in enumerate(self.weight, 1):
            mixed = mixed + weight * padded[..., num - back : num - back + vectors.shape[-2], :]
        return mixed, padded[..., padded.shape[-2] - num :, :]

    def init_weights(self, generator: torch.Generator) -> None:
        """Draws the weights: what is added has less variance than the vector; see ``common.models.base.initialise``."""
        if self.weight is not None:
            self.weight.normal_(0.0, 1 / math.sqrt(len(self.weight) + 1), generator=generator)


def attended(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Returns (B, heads, L, D): values of the places up to each query's own; queries are of all places, or the last."""
    return F.scaled_dot_product_attention(queries, keys, values, is_causal=bool(queries.shape[-2] > 1))


def rotation(start: int, num: int, per_head: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Returns cosine and sine (num, per_head / 2) of the angles of the places from ``start``."""
    powers = torch.arange(0, per_head, 2, device=like.device, dtype=torch.float32) / per_head
    places = torch.arange(start, start + num, device=like.device, dtype=torch.float32)
    angles = places[:, None] * _ROTARY_BASE**-powers
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def turned(vectors: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Returns vectors (..., L, D) whose halves are the two coordinates of points, each turned by its angle."""
    cosine, sine = turn
    one, other = vectors.chunk(2, dim=-1)
    return torch.cat([one * cosine - other * sine, one * sine + other * cosine], dim=-1)


class TokenEmbedding(Embedding):
    """An embedding that logits are made with, too: it starts so that those have a variance of 1 at most."""

    def init_weights(self, generator: torch.Generator) -> None:
        """Draws the weights; see ``common.models.base.initialise``."""
        self.weight.normal_(0.0, 0.5 / math.sqrt(self.embedding_dim), generator=generator)
