"""Gradients of each example by itself, clipped and added up, at nearly the cost of that of their mean.

The examples are those of a batch of ``vectorised``, each with a row of the weights; but as all rows are the same, a
convolution or product with a whole weight is carried out once for all examples, and its gradient for a row is kept as
the two factors that it is the product of. Where few positions of an example share a weight the length of the product
follows from the factors (Goodfellow 2015, arXiv 1510.01799; Bu, Mao, Xu 2022, arXiv 2205.10683), and the clipped sum is
one product for all examples; elsewhere the gradients of the examples at hand are written out.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C import _functorch
from torch.nn.modules.utils import _pair

from client.functional.clipping import clip_shares
from client.functional.shared_weights import Shared, convolution, product, transposed_convolution
from client.functional.vectorised import Rules, each_whole, vectorised, with_bias, written_out

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
    rows = {key: value.detach().expand(num, *value.shape).requires_grad_() for key, value in weights.items()}
    uses = _Uses(rows)
    losses = vectorised(loss, uses.rules())(rows, {name: value.unsqueeze(1) for name, value in examples.items()})
    with uses.noted():
        found = torch.autograd.grad(losses.float().sum(), list(rows.values()), allow_unused=True)
    parts = {key: _Part.of(uses.pairs[key], own, rows[key]) for key, own in zip(rows, found, strict=True)}
    shares = clip_shares(torch.stack([part.squared_lengths for part in parts.values()]).sum(0), clip)
    return {key: part.weighted_sum(shares) for key, part in parts.items()}


@dataclass(frozen=True)
class _Part:
    """The gradients of B examples by one weight: written out, or as factors, of which it is the sum of products.

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
    def of(cls, pairs: list[tuple[Tensor, Tensor]], own: Tensor | None, row: Tensor) -> "_Part":
        shape, num = row.shape[1:], len(row)
        none = row.new_zeros(num, 0, 0)
        if not pairs:
            whole = torch.zeros_like(row) if own is None else own
            return cls(whole.flatten(1).double().square().sum(1), whole, none, none, shape)
        given, taken = (torch.cat(values, 1).float() for values in zip(*pairs, strict=True))
        inputs, outputs = given.shape[2], taken.shape[2]
        if own is None and 3 * given.shape[1] * (inputs + outputs) < inputs * outputs:  # in float64
            products = torch.bmm(given.double(), given.double().mT) * torch.bmm(taken.double(), taken.double().mT)
            return cls(products.sum((1, 2)), None, given, taken, shape)
        whole = torch.bmm(taken.mT, given).view(num, *shape)
        whole = whole if own is None else whole + own
        return cls(whole.flatten(1).square().sum(1).double(), whole, none, none, shape)

    def weighted_sum(self, shares: Tensor) -> Tensor:
        """Returns the sum of shares (B,) of the gradients; what has none may be not finite."""
        shares = shares.float()
        if self.whole is not None:
            return _finite(self.whole, shares).flatten(1).T.mv(shares).view(self.shape)
        taken = _finite(self.taken, shares) * shares[:, None, None]
        return (taken.flatten(0, 1).T @ _finite(self.given, shares).flatten(0, 1)).view(self.shape)


def _finite(values: Tensor, shares: Tensor) -> Tensor:
    return (
        values if bool((shares > 0).all()) else values.masked_fill((shares == 0).view(-1, *[1] * (values.ndim - 1)), 0)
    )


class _Uses:
    """What weights whose rows are all the same were used for.

    Args:
        rows: The weights, (B, ...) each.

    Attributes:
        pairs: By weight, what came in (B, T, I) at T positions, and the gradients (B, T, O) of what came out there.
    """

    def __init__(self, rows: Tensors) -> None:
        self.pairs: dict[str, list[tuple[Tensor, Tensor]]] = {key: [] for key in rows}
        self._rows = rows
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
        if self._is_noting:
            num = len(self._rows[name])
            pair = (value.detach().reshape(num, -1, value.shape[-1]) for value in (given, taken))
            self.pairs[name].append((next(pair), next(pair)))

    def _shared(self, values: Tensor, weights: Tensor) -> Shared | None:
        """Returns how the whole weight is used whose rows these are; None: they are not, or examples do not differ."""
        if not (_functorch.is_batchedtensor(values) and _functorch.is_batchedtensor(weights)):
            return None
        name = self._names.get(id(_functorch.get_unwrapped(weights)))
        return None if name is None else Shared(partial(self._note, name))

    def _product(self, values: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
        if (shared := self._shared(values, weights)) is None:
            return F.linear(values, weights, bias)
        found = each_whole(partial(product, shared), values, weights)
        return found if bias is None else found + bias

    def _convolution(
        self, images: Tensor, weights: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, *rest: Any
    ) -> Tensor:
        shared = self._shared(images, weights)
        if shared is None or isinstance(padding, str) or rest not in ((), (1, 1), ((1, 1), 1)):
            return cast(Tensor, written_out(F.conv2d)(images, weights, bias, stride, padding, *rest))
        how = replace(shared, stride=_pair(stride), padding=_pair(padding))
        return with_bias(each_whole(partial(convolution, how), images, weights), bias)

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
        return with_bias(each_whole(partial(transposed_convolution, how), maps, weights), bias)
