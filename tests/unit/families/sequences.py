"""A kind of example that is no picture: sequences of integers, with a source, a model and an objective of its own.

Nothing of it is known outside of this file, and nothing outside is edited for it: it is what a new family is made of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from common.datasets import Dataset, DataSource
from common.errors import ConfigError, DataError
from common.examples import ExampleSet, ExampleSpec
from common.models import Model, Roles, Sampler
from common.objectives import Objective, Phase
from common.seeding import torch_generator


@dataclass(frozen=True)
class SequenceSpec(ExampleSpec):
    kind: ClassVar[str] = "sequences"
    nouns: ClassVar[tuple[str, str]] = ("sequence", "sequences")

    length: int
    symbols: int
    num_classes: int

    @property
    def shape(self):
        return (self.length,)

    def to_input(self, stored):
        return stored.long()

    def to_stored(self, output):
        return output.to(torch.uint8)

    def preview(self, examples, columns, headings=()):
        return "\n".join(" ".join(map(str, row)) for row in examples.tolist())

    def record(self):
        return {"kind": self.kind, "length": self.length, "symbols": self.symbols, "num-classes": self.num_classes}

    @classmethod
    def from_record(cls, record: Mapping):
        return cls(*(int(record[key]) for key in ("length", "symbols", "num-classes")))

    def __str__(self):
        return f"sequences of {self.length} of {self.symbols} symbols, of {self.num_classes} class(es)"


class SequenceSet(ExampleSet):
    kind: ClassVar[str] = "sequences"

    def check_examples(self):
        if self.stored.dtype != torch.uint8 or self.stored.ndim != 2:
            raise DataError(f"sequences are {tuple(self.stored.shape)} {self.stored.dtype}, not (N, L) uint8")

    def spec(self, num_classes):
        return SequenceSpec(self.stored.shape[1], 8, num_classes)


class Named:
    """A component of this file, whose name is that of its class: elsewhere each is a file."""

    @classmethod
    def component_name(cls):
        return cls.__name__.lower()


class Counting(Named, DataSource):
    """Class k counts upwards from k, modulo 8; one symbol in ten is any other."""

    source: ClassVar[str] = "here"

    num: int = Field(120, ge=2)

    def load(self, root, *, image_size=0, download=True):
        generator = torch_generator(0, "counting")
        labels = torch.arange(self.num) % 3
        rows = (labels[:, None] + torch.arange(6)) % 8
        wrong = torch.rand(rows.shape, generator=generator) < 0.1
        rows = torch.where(wrong, torch.randint(8, rows.shape, generator=generator), rows).to(torch.uint8)
        cut = self.num * 3 // 4
        train, test = SequenceSet(rows[:cut], labels[:cut]), SequenceSet(rows[cut:], labels[cut:])
        return Dataset("counting", train, test, ("zero", "one", "two"))

    def status(self, root):
        return "counting: made on the spot"


class Table(Sampler):
    """The logits of each symbol in each place of each class; a symbol is drawn by the quantile of the noise."""

    def __init__(self, spec):
        super().__init__()
        self.spec, self.noise_shape = spec, spec.shape
        self.logits = nn.Parameter(torch.empty(spec.num_classes, spec.length, spec.symbols))

    def init_weights(self, generator):
        self.logits.zero_()

    def forward(self, noise, labels):
        ends = self.logits[labels].softmax(-1).cumsum(-1)
        quantiles = torch.special.ndtr(noise)
        return (quantiles[..., None] > ends).sum(-1).clamp_max(self.spec.symbols - 1)


class Places(Named, Model):
    """One table of logits; the network that is published is trained too."""

    source: ClassVar[str] = "here"
    roles: ClassVar[Roles] = Roles(("table",))

    def networks(self, spec):
        if not isinstance(spec, SequenceSpec):
            raise ConfigError(f"model places makes sequences, the data are {spec}")
        return {"table": Table(spec)}


class Symbols(Named, Objective):
    """The mean cross-entropy of every symbol, in nats."""

    source: ClassVar[str] = "here"

    def phases(self):
        return (Phase("symbols", ("table",), self._loss, period=1),)

    def _loss(self, networks, batch):
        (logits,) = networks["table"].parameters()
        found = logits[batch.labels]
        return F.cross_entropy(found.flatten(0, 1), batch.examples.flatten()), {}
