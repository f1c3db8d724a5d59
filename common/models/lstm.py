"""The recurrent network over characters or bytes that federated learning was first tried on text with."""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from common.examples import ExampleSpec, TextSpec
from common.models.tokens import SmallEmbedding, SmallLinear, TextModel, TokenNetwork, require_text

State = tuple[tuple[Tensor, Tensor], ...]


class LSTM(TextModel):
    """Says of each token, by those before it, which one comes next, with long short-term memories above each other.

    By default the network of the published results on Shakespeare's plays. Where there are labels, a vector of the
    label is added to each token's, which that one does not have.
    """

    source: ClassVar[str] = (
        "McMahan et al. 2017 (arXiv 1602.05629), section 3; Caldas et al. 2018 (LEAF, arXiv 1812.01097); Reddi et al. "
        "2021 (arXiv 2003.00295), appendix C; forget bias: Jozefowicz et al. 2015"
    )
    layers: int = Field(2, ge=1, le=16, description="memories above each other")
    width: int = Field(256, ge=1, le=4096, description="cells of a memory")
    embedding: int = Field(8, ge=1, le=4096, description="length of a token's vector")

    def networks(self, spec: ExampleSpec) -> dict[str, nn.Module]:
        text = require_text("lstm", spec)
        num_classes = text.num_classes if self.conditional else 0
        return {"tokens": Recurrent(text, self.layers, self.width, self.embedding, num_classes)}


class Recurrent(TokenNetwork):
    """See ``TokenNetwork``; ``num_classes=0``: labels are not looked at. All of a text counts, however long it is."""

    def __init__(self, spec: TextSpec, layers: int, width: int, embedding: int, num_classes: int) -> None:
        super().__init__()
        self.spec = spec
        self.token = SmallEmbedding(spec.num_tokens, embedding, std=1 / math.sqrt(embedding))
        self.label = SmallEmbedding(num_classes, embedding) if num_classes > 1 else None
        self.memories = nn.ModuleList([Memory(width if layer else embedding, width) for layer in range(layers)])
        self.out = SmallLinear(width, spec.num_tokens)

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        return self._read(tokens, labels, self.begin(labels))[0]

    def begin(self, labels: Tensor) -> State:
        zeros = self.out.weight.new_zeros(len(self.memories), 2, labels.shape[0], self.out.in_features)
        return tuple((hidden, cells) for hidden, cells in zeros)

    def advance(self, tokens: Tensor, labels: Tensor, state: State) -> tuple[Tensor, State]:
        logits, state = self._read(tokens[:, None], labels, state)
        return logits[:, 0], state

    def _read(self, tokens: Tensor, labels: Tensor, state: State) -> tuple[Tensor, State]:
        """Returns the logits after each of some further tokens (B, L), and the state after the last."""
        vectors = self.token(tokens)
        if self.label is not None:
            vectors = vectors + self.label(labels)[..., None, :]
        after = []
        for memory, before in zip(self.memories, state, strict=True):
            vectors, last = memory(vectors, before)
            after.append(last)
        return self.out(vectors), tuple(after)


class Memory(nn.Module):
    """Vectors (B, L, inputs) to what is remembered after each, (B, L, width), in one call of torch's."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Parameter(torch.empty(4 * width, inputs))  # gates in torch's order: input, forget, cell, output
        self.recurrent = nn.Parameter(torch.empty(4 * width, width))
        self.bias = nn.Parameter(torch.empty(4 * width))

    def forward(self, vectors: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if torch.compiler.is_exporting():
            return self._scanned(vectors, state)
        hidden, cells = (value[None] for value in state)
        weights = [self.input, self.recurrent, self.bias, torch.zeros_like(self.bias)]
        remembered, hidden, cells = torch.lstm(
            vectors, (hidden, cells), weights, True, 1, 0.0, self.training, False, True
        )
        return remembered, (hidden[0], cells[0])

    def _scanned(self, vectors: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Does the same as a loop inside the graph, as torch's own is another graph for each length (torch 2.14)."""
        from torch._higher_order_ops.scan import scan

        recurrent = self.recurrent.T

        def step(before: tuple[Tensor, Tensor], gates: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
            hidden, cells = before
            entered, kept, cell, shown = (gates + hidden @ recurrent).chunk(4, -1)
            cells = kept.sigmoid() * cells + entered.sigmoid() * cell.tanh()
            hidden = shown.sigmoid() * cells.tanh()
            return (hidden, cells), hidden.clone()

        entering = nn.functional.linear(vectors, self.input, self.bias).transpose(0, 1)
        last, remembered = scan(step, (state[0].clone(), state[1].clone()), entering)
        return remembered.transpose(0, 1), last

    def init_weights(self, generator: torch.Generator) -> None:
        """Draws the weights, normal with variance 1 / inputs, and 1 / width; a memory first forgets little."""
        for weight in (self.input, self.recurrent):
            weight.normal_(0.0, 1.0 / math.sqrt(weight.shape[1]), generator=generator)
        self.bias.zero_()[self.width : 2 * self.width] = 1.0
