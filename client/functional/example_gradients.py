"""Gradients of each example by itself, clipped and added up, at nearly the cost of that of their mean.

The examples are those of a batch of ``vectorised``, each with a row of the weights; but as all rows are the same, a
convolution or product with a whole weight is carried out once for all examples, and its gradient for a row is kept as
the two factors that it is the product of. Where few positions of an example share a weight the length of the product
follows from the factors (Goodfellow 2015, arXiv 1510.01799; Bu, Mao, Xu 2022, arXiv 2205.10683), and the clipped sum is
one product for all examples; elsewhere the gradients of the examples at hand are written out.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C import _functorch
from torch.nn.modules.utils import _pair

from client.functional.batch_dimensions import over_all, unwrapped
from client.functional.clipping import clip_shares
from client.functional.shared_weights import Shared, convolution, product, products, transposed_convolution
from client.functional.vectorised import vectorised
from client.functional.written_out import Rules, with_bias, written_out

_PRECISION = threading.Lock()

Tensors = dict[str, Tensor]
Loss = Callable[[Mapping[str, Tensor], Tensors], Tensor]


def clipped_gradients(loss: Loss, weights: Mapping[str, Tensor], examples: Tensors, clip: float) -> Tensors:
    """Returns the sum of the clipped gradients of some examples, by weight.

    The gradient of an example, over all weights together, is scaled down to the length ``clip``; one that is not finite
    counts as zero.

    Args:
        loss: Of weights and one example: a batch of one. Returns a scalar; may differentiate.
        weights: What it is differentiated by.
        examples: (B, ...) each, B >= 1: what ``loss`` takes of an example, without the dimension of the batch.
        clip: > 0.
    """
    num = len(next(iter(examples.values())))
    rows = {key: value.detach().expand(num, *value.shape) for key, value in weights.items()}
    found = _clipped(loss, rows, list(rows), examples, None, clip, 1)
    return {key: value[0] for key, value in found.items()}


def clipped_gradients_of_each(
    loss: Loss, weights: Mapping[str, Tensor], trained: Sequence[str], examples: Tensors, there: Tensor, clip: float
) -> Tensors:
    """Returns such a sum for each of several clients, (N, ...) by weight.

    Args:
        loss: As above.
        weights: All that ``loss`` takes, with a row a client: (N, ...) each.
        trained: What it is differentiated by.
        examples: (N, B, ...) each.
        there: Which of them count (N, B), bool: clients may have fewer than B.
        clip: > 0.
    """
    num = there.shape[1]
    rows = {key: value.detach().unsqueeze(1).expand(-1, num, *value.shape[1:]) for key, value in weights.items()}
    return _clipped(loss, rows, trained, examples, there, clip, 2)


def _clipped(
    loss: Loss,
    rows: Tensors,
    trained: Sequence[str],
    examples: Tensors,
    there: Tensor | None,
    clip: float,
    depth: int,
) -> Tensors:
    """Returns the sums (N, ...) of what is counted; rows and examples are (B, ...) of a client, (N, B, ...) of each."""
    own = [rows[key].requires_grad_() for key in trained]
    uses = _Uses(rows, trained, depth)
    inputs = {name: value.unsqueeze(depth) for name, value in examples.items()}
    losses = vectorised(loss, uses.rules(), depth)(rows, inputs)
    with uses.noted():
        found = torch.autograd.grad(losses.float().sum(), own, allow_unused=True)
    parts = {
        key: _Part.of(uses.pairs[key], gradient, rows[key], depth) for key, gradient in zip(trained, found, strict=True)
    }
    squared = torch.stack([part.squared_lengths for part in parts.values()]).sum(0)
    shares, broken = clip_shares(squared, clip).float(), ~squared.isfinite()
    if there is not None:
        shares = shares * there.flatten()
    lost = broken if bool(broken.any()) else None
    shares = shares.view(1 if there is None else len(there), -1)
    with _full_precision():
        return {key: part.weighted_sum(shares, lost) for key, part in parts.items()}


@contextmanager
def _full_precision() -> Iterator[None]:
    """Has products on a GPU round no number to the 10 bits of TF32, by which a gradient could outgrow its clip.

    The setting is the process's, so one thread at a time changes it; the GPU's work is only queued meanwhile.
    """
    with _PRECISION:
        before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before


@dataclass(frozen=True)
class _Part:
    """The gradients of B examples by one weight: written out, or as factors, of which it is the sum of products.

    Of N clients, B is the number of the examples of all.

    Attributes:
        squared_lengths: (B,) float64.
        whole: (B, ...).
        given: What came in at each of T positions, (B, T, I).
        taken: The gradient of what came out there, (B, T, O).
        shape: Of the weight.
    """

    squared_lengths: Tensor
    whole: Tensor | None
    given: Tensor
    taken: Tensor
    shape: torch.Size

    @classmethod
    def of(cls, pairs: list[tuple[Tensor, Tensor]], own: Tensor | None, row: Tensor, depth: int) -> "_Part":
        shape, num = row.shape[depth:], math.prod(row.shape[:depth])
        own = None if own is None else own.reshape(num, *shape)
        none = row.new_zeros(num, 0, 0)
        if not pairs:
            whole = row.new_zeros(num, *shape) if own is None else own
            return cls(whole.flatten(1).double().square().sum(1), whole, none, none, shape)
        given, taken = (torch.cat(values, 1).float() for values in zip(*pairs, strict=True))
        inputs, outputs = given.shape[2], taken.shape[2]
        if own is None and 3 * given.shape[1] * (inputs + outputs) < inputs * outputs:  # in float64
            both = torch.bmm(given.double(), given.double().mT) * torch.bmm(taken.double(), taken.double().mT)
            return cls(both.sum((1, 2)), None, given, taken, shape)
        whole = torch.bmm(taken.mT, given).view(num, *shape)
        whole = whole if own is None else whole + own
        return cls(whole.flatten(1).square().sum(1).double(), whole, none, none, shape)

    def weighted_sum(self, shares: Tensor, lost: Tensor | None) -> Tensor:
        """Returns the sums (N, ...) of shares (N, B / N) of the gradients.

        Args:
            shares: Of the examples of each client.
            lost: Which are not finite (B,), and have no share; None: none is.
        """
        num = len(shares)
        if self.whole is not None:
            whole = _without(self.whole, lost).reshape(num, -1, self.shape.numel())
            return products(shares.unsqueeze(1), whole).view(num, *self.shape)
        taken = _without(self.taken, lost) * shares.reshape(-1, 1, 1)
        given = _without(self.given, lost).reshape(num, -1, self.given.shape[2])
        return products(taken.reshape(num, -1, taken.shape[2]).mT, given).view(num, *self.shape)


def _without(values: Tensor, lost: Tensor | None) -> Tensor:
    return values if lost is None else values.masked_fill(lost.view(-1, *[1] * (values.ndim - 1)), 0)


class _Uses:
    """What weights were used for whose rows are all the same of a client.

    Args:
        rows: The weights, (B, ...) each, or (N, B, ...).
        trained: Those whose uses count.
        depth: How many dimensions of theirs are those of clients and examples.

    Attributes:
        pairs: By weight, what came in (B, T, I) at T positions, and the gradients (B, T, O) of what came out there.
    """

    def __init__(self, rows: Tensors, trained: Sequence[str], depth: int) -> None:
        self.pairs: dict[str, list[tuple[Tensor, Tensor]]] = {key: [] for key in trained}
        self._num, self._depth = math.prod(next(iter(rows.values())).shape[:depth]), depth
        self._names = {id(value): key for key, value in rows.items()}
        self._is_noting = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Notes the gradients that a backward pass comes by; those of passes inside of a loss do not count."""
        self._is_noting = True
        try:
            yield
        finally:
            self._is_noting = False

    def rules(self) -> Rules:
        """Returns how functions of weights are carried out."""
        return {
            F.linear: self._product,
            F.conv2d: self._convolution,
            F.conv_transpose2d: self._transposed_convolution,
        }

    def _note(self, name: str, given: Tensor, taken: Tensor) -> None:
        if self._is_noting and name in self.pairs:
            pair = (value.detach().reshape(self._num, -1, value.shape[-1]) for value in (given, taken))
            self.pairs[name].append((next(pair), next(pair)))

    def _shared(self, values: Tensor, weights: Tensor) -> Shared | None:
        """Returns how the whole weight is used whose rows these are; None: they are not, or examples do not differ."""
        if not (_functorch.is_batchedtensor(values) and _functorch.is_batchedtensor(weights)):
            return None
        name = self._names.get(id(unwrapped(weights)))
        return None if name is None else Shared(partial(self._note, name))

    def _over_all(self, function: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """Returns ``function``, of values (N, B, ...), of those of a client, or of each of several."""
        if self._depth == 2:
            return over_all(function, *given)
        return over_all(lambda *whole: function(*(value.unsqueeze(0) for value in whole)).squeeze(0), *given)

    def _product(self, values: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
        if (shared := self._shared(values, weights)) is None:
            return F.linear(values, weights, bias)
        found = self._over_all(partial(product, shared), values, weights)
        return found if bias is None else found + bias

    def _convolution(
        self, images: Tensor, weights: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, *rest: Any
    ) -> Tensor:
        shared = self._shared(images, weights)
        if shared is None or isinstance(padding, str) or rest not in ((), (1, 1), ((1, 1), 1)):
            return cast(Tensor, written_out(F.conv2d)(images, weights, bias, stride, padding, *rest))
        how = replace(shared, stride=_pair(stride), padding=_pair(padding))
        return with_bias(self._over_all(partial(convolution, how), images, weights), bias)

    def _transposed_convolution(
        self,
        maps: Tensor,
        weights: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        extra: Any = 0,
        *rest: Any,
    ) -> Tensor:
        shared = self._shared(maps, weights)
        if shared is None or rest not in ((), (1, 1), (1, (1, 1))):
            return cast(Tensor, written_out(F.conv_transpose2d)(maps, weights, bias, stride, padding, extra, *rest))
        how = replace(shared, stride=_pair(stride), padding=_pair(padding), extra=_pair(extra))
        return with_bias(self._over_all(partial(transposed_convolution, how), maps, weights), bias)
