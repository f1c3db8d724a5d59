"""Counts of the runs of characters or bytes in the texts, smoothed: the floor that networks of text must beat."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from common.errors import ConfigError
from common.examples import ExampleSpec, TextSpec
from common.examples.text import END_TOKEN, PAD_TOKEN
from common.models.base import Fitting
from common.models.tokens import TextModel, TokenNetwork, require_text

_ENTRIES = 2**63
"""Keys are below this."""


class NGram(TextModel):
    """Says which token comes next by how often each has come after the same tokens, up to ``order - 1`` of them.

    With Witten and Bell's smoothing: of a context h, after which c(h) tokens were seen, T(h) different ones,

        p(w | h) = (c(h w) + T(h) p(w | h')) / (c(h) + T(h)),

    where h' is h without its first token, down to the uniform distribution over all tokens. A context reaches back to
    the end of the text before at most: with what comes before that, held-out plays were expected worse (1.458 nats a
    character instead of 1.454). Labels are not looked at.

    It is no network: nothing is trained. Clients count once, and the server adds the counts up (``count-sums``).
    """

    source: ClassVar[str] = "Witten, Bell 1991 (IEEE Trans. Inf. Theory 37.4), method C; Chen, Goodman 1998 (TR-10-98)"
    fitting: ClassVar[Fitting] = "counts"

    order: int = Field(6, ge=1, le=16, description="length of the longest runs of tokens that are counted")
    conditional: bool = Field(False, description="false: counts are of all classes together")

    @model_validator(mode="after")
    def _knows_no_labels(self) -> Self:
        if self.conditional:
            raise ValueError("conditional=true: runs are counted over all classes together, so leave it out")
        return self

    def networks(self, spec: ExampleSpec) -> dict[str, nn.Module]:
        text = require_text("ngram", spec)
        if text.num_tokens**self.order > _ENTRIES:
            most = max(n for n in range(self.order) if text.num_tokens**n <= _ENTRIES)
            raise ConfigError(
                f"model ngram: order={self.order} of {text.num_tokens:,} tokens does not fit into 63 bits: set order to"
                f" {most} or less"
            )
        return {"tokens": Counts(text, self.order)}

    def counted(self, spec: ExampleSpec, examples: Tensor) -> dict[str, Tensor]:
        text = require_text("ngram", spec)
        keys, counts = count(examples, self.order, text.num_tokens, text.overlap)
        return {"tokens.keys": keys, "tokens.counts": counts}


class Counts(TokenNetwork):
    """See ``TokenNetwork``; knows how often each run of up to ``order`` tokens was seen.

    Attributes:
        keys: (N,) int64, ascending: the runs, read as numbers whose digits, to base ``spec.num_tokens``, are their
            tokens. As padding, token 0, is in none, shorter runs are apart from longer ones.
        counts: (N,) int64, at least 1: how often each was seen.
    """

    keys: Tensor
    counts: Tensor

    def __init__(self, spec: TextSpec, order: int) -> None:
        super().__init__()
        self.spec, self.order = spec, order
        self.register_buffer("keys", torch.empty(0, dtype=torch.int64))
        self.register_buffer("counts", torch.empty(0, dtype=torch.int64))
        self._sums: tuple[Tensor, Tensor] | None = None

    def init_weights(self, generator: torch.Generator) -> None:
        """Leaves it without counts; see ``common.models.base.initialise``."""

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        found = [context.flatten() for context in contexts(tokens, self.order, self.spec.num_tokens)]
        return self._expected(found).log().view(*tokens.shape, -1)

    def begin(self, labels: Tensor) -> Tensor:
        return labels.new_empty(len(labels), 0)

    def advance(self, tokens: Tensor, labels: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([state, tokens[:, None]], dim=1)[:, -max(1, min(self.order, self.spec.length) - 1) :]
        found = [context[:, -1] for context in contexts(seen, self.order, self.spec.num_tokens)]
        return self._expected(found).log(), seen

    def _expected(self, found: list[Tensor]) -> Tensor:
        """Returns probabilities (P, num_tokens), float32, after contexts (P,) of no token, one, two and so on."""
        base = self.spec.num_tokens
        share = torch.ones(len(found[0]), device=self.keys.device)  # of what contexts up to the one at hand expect
        places, values = [torch.zeros_like(found[0][:0])], [share[:0]]
        for context in reversed(found[1:]):
            rows, tokens, counts, kinds, total = self._seen_after(context)
            scale = share / total
            places.append(rows * base + tokens)
            values.append(counts * scale[rows])
            share = torch.where(kinds > 0, kinds * scale, share)
        _, tokens, counts, kinds, total = self._seen_after(found[0][:1])  # no token: the same everywhere
        frequencies = torch.full((base,), 1.0 / base, device=share.device)
        if len(tokens):
            frequencies = (frequencies * kinds).index_add_(0, tokens, counts.float()) / total
        expected = share[:, None] * frequencies
        return expected.view(-1).index_add_(0, torch.cat(places), torch.cat(values)).view_as(expected)

    def _seen_after(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Returns what was seen after contexts (P,), as entries (N,): their contexts' places, tokens and counts.

        And (P,), of each context: how many different tokens, and c(h) + T(h), or 1 where nothing was seen.
        """
        base, sums, known = self.spec.num_tokens, self._cumulated(), context.clamp_min(0)
        first, end = (torch.searchsorted(self.keys, start * base) for start in (known, known + 1))
        kinds = (end - first).masked_fill(context < 0, 0)
        rows = torch.repeat_interleave(kinds)
        entries = torch.arange(len(rows), device=rows.device) + (first - kinds.cumsum(0) + kinds)[rows]
        total = torch.where(kinds > 0, sums[end] - sums[first] + kinds, 1)
        return rows, self.keys[entries] - context[rows] * base, self.counts[entries], kinds, total

    def _cumulated(self) -> Tensor:
        """Returns the sums (N + 1,) of the counts before each entry, and of all."""
        if self._sums is None or self._sums[0] is not self.counts:
            self._sums = self.counts, F.pad(self.counts.cumsum(0), (1, 0))
        return self._sums[1]

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # There are as many entries as runs were seen.
        for name in ("keys", "counts"):
            if (value := state_dict.get(prefix + name)) is not None and value.ndim == 1:
                setattr(self, name, torch.empty(len(value), dtype=torch.int64, device=self.keys.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def contexts(tokens: Tensor, order: int, base: int) -> Iterator[Tensor]:
    """Yields the runs of 0, 1, ... ``order - 1`` tokens that end with each of ``tokens`` (B, L), as numbers (B, L).

    Their digits to ``base`` are the tokens. A run is -1 that would begin before the row, with padding, or before the
    end of another text.
    """
    context, after = torch.zeros_like(tokens), torch.zeros_like(tokens)
    for length in range(order):
        if length:
            first = F.pad(tokens, (length - 1, 0), value=PAD_TOKEN)[:, : tokens.shape[1]]
            broken = (context < 0) | (first == PAD_TOKEN) | (after == END_TOKEN)
            context, after = torch.where(broken, -1, context + first * base ** (length - 1)), first
        yield context


def count(rows: Tensor, order: int, base: int, overlap: int) -> tuple[Tensor, Tensor]:
    """Returns the runs of up to ``order`` tokens in rows (B, L), and how often each is seen, both int64 (N,).

    Of each token from the position ``overlap`` on, which stands nowhere else, the runs that end with it; see
    ``Counts``.
    """
    targets = rows[:, overlap:]
    found = []
    for context in contexts(rows[:, :-1], order, base):
        before = context[:, overlap - 1 :]
        found.append((before * base + targets)[(before >= 0) & (targets != PAD_TOKEN)].unique(return_counts=True))  # type: ignore[no-untyped-call]
    keys, counts = zip(*found, strict=True)
    return torch.cat(keys), torch.cat(counts)
