"""One client's loss, evaluated for many clients at once, with all that ``torch.func.vmap`` alone refuses.

Objectives are written for one client. ``vmap`` carries most of their arithmetic over to a batch of clients, but not

- draws from a generator that is theirs: here each client's come from its own, so they are those of a client alone;
- ``requires_grad`` and ``torch.autograd.grad`` (R1, gradient penalties): autograd stays outside of ``vmap``, on the
  tensors of all clients together. As no client's output depends on another's input, the gradient of the sum of all
  outputs is every client's own;
- attention, which ``vmap`` carries out client by client: here it is one call for the examples of all clients;
- ``torch.lstm``, which is written out here;
- convolutions on a GPU, which ``vmap`` makes one of many groups; see ``client.functional.convolutions``;
- ``clamp_`` in place, for losses that bound weights.

A mode of torch's intercepts these calls; nothing else is changed. It stands on private functions of functorch, which a
test pins: ``torch.func.vmap`` itself takes a fifth of a small step to look through what it is given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
from torch._functorch.vmap import lazy_load_decompositions  # type: ignore[attr-defined]
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

from client.functional.convolutions import convolution, transposed_convolution

_REQUIRES_GRAD = torch.Tensor.requires_grad.__get__  # type: ignore[attr-defined]


class Generators(torch.Generator):
    """Stands in a batch of clients for the generator of each.

    Args:
        generators: One a client, on the CPU.

    Attributes:
        used: Whether anything was drawn.
    """

    def __new__(cls, generators: Sequence[torch.Generator]) -> "Generators":
        """Returns a generator that is never drawn from itself."""
        return super().__new__(cls)

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = list(generators)
        self.used = False


Rules = Mapping[Any, Callable[..., Any]]
"""What is carried out instead of functions of torch's, by these."""


def vectorised(function: Callable[..., Any], rules: Rules | None = None, depth: int = 1) -> Callable[..., Any]:
    """Returns ``function`` over the first dimensions of all its tensors; its results have these dimensions too.

    Args:
        function: Of one client; takes and returns tensors, or dictionaries and tuples of them. It may draw from
            ``Generators`` that it holds, with a depth of 1, and differentiate.
        rules: Beside those of this file.
        depth: How many dimensions: 1, clients; 2, clients and examples of each.
    """
    rules = {**_WRITTEN_OUT, **(rules or {})}
    lazy_load_decompositions()

    def inside(sizes: Sequence[int], arguments: Any) -> Any:
        if not sizes:
            with _Interception(rules):
                return function(*arguments)
        level = _functorch._vmap_increment_nesting(sizes[0], "error")
        try:
            batched = _each(arguments, lambda value: _functorch._add_batch_dim(value, 0, level))
            results = inside(sizes[1:], batched)
            return _each(results, lambda value: _functorch._remove_batch_dim(value, level, sizes[0], 0))
        finally:
            _functorch._vmap_decrement_nesting()

    return lambda *arguments: inside(next(_leaves(arguments)).shape[:depth], arguments)


def written_out(function: Any) -> Callable[..., Any]:
    """Returns what is carried out instead of a function of torch's; itself where that is nothing else."""
    return _WRITTEN_OUT.get(function, function)


def _leaves(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    else:
        for value in values.values() if isinstance(values, dict) else values:
            yield from _leaves(value)


def _each(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Returns ``values``, tensors in dictionaries and tuples, with each of them changed."""
    if isinstance(values, Tensor):
        return change(values)
    if isinstance(values, dict):
        return {name: _each(value, change) for name, value in values.items()}
    return tuple(_each(value, change) for value in values)


class _Interception(TorchFunctionMode):
    """Carries out for all clients what ``vmap`` refuses."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self._rules = rules

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if isinstance(generators := kwargs.get("generator"), Generators):
            generators.used = True
            with temporarily_pop_interpreter_stack():
                drawn = [function(*args, **{**kwargs, "generator": own}) for own in generators.generators]
                together = torch.stack(drawn)
            return _functorch._add_batch_dim(together, 0, _functorch.current_level())
        if function is torch.autograd.grad:
            return _gradients(*args, **kwargs)
        if function == _REQUIRES_GRAD and _functorch.is_batchedtensor(args[0]):
            return unwrapped(args[0]).requires_grad
        if function is torch.Tensor.requires_grad_ and _functorch.is_batchedtensor(args[0]):
            with _outside(args[0]) as (bare,):
                bare.requires_grad_(*args[1:], **kwargs)
            return args[0]
        if function is torch.Tensor.clamp_ and _functorch.is_batchedtensor(args[0]):
            with _outside(args[0]) as (bare,):
                bare.clamp_(*args[1:], **kwargs)  # by limits that all have in common
            return args[0]
        return self._rules.get(function, function)(*args, **kwargs)


def _attention(*given: Tensor, **options: Any) -> Any:
    """Returns what queries, keys and values (B, heads, L, D) of each client attend to."""
    if not all(_functorch.is_batchedtensor(value) for value in given):
        raise NotImplementedError("attention to what all clients have in common")

    def together(*whole: Tensor) -> Tensor:
        queries, keys, values = (value.flatten(0, 1) for value in whole)
        return F.scaled_dot_product_attention(queries, keys, values, **options).view(whole[0].shape)

    return each_whole(together, *given)


def _gradients(outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], *args: Any, **kwargs: Any) -> Any:
    """Returns each client's gradients of the sum of its ``outputs``."""
    if args or kwargs.get("grad_outputs") is not None:
        raise NotImplementedError("torch.autograd.grad with grad_outputs, for many clients at once")
    if not all(_functorch.is_batchedtensor(value) for value in (*inputs, *outputs)):
        raise NotImplementedError("torch.autograd.grad of what all clients have in common")
    with _outside(*outputs, *inputs) as bare:
        totals = [value.sum() for value in bare[: len(outputs)]]
        found = torch.autograd.grad(totals, bare[len(outputs) :], **kwargs)
    return tuple(
        None if gradient is None else _wrapped(gradient, _wraps(like))
        for gradient, like in zip(found, inputs, strict=True)
    )


def _memory(
    vectors: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor], has_biases: bool, layers: int, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what ``torch.lstm`` does of one layer with biases, of a batch (B, L, inputs), without dropout."""
    if not has_biases or layers != 1:
        raise NotImplementedError("torch.lstm of several layers, or without biases, for many clients at once")
    given, recurrent, *biases = weights
    (hidden,), (cells,) = state
    remembered = []
    for new in F.linear(vectors, given, biases[0] + biases[1]).unbind(1):
        come_in, stay, cell, come_out = (new + F.linear(hidden, recurrent)).chunk(4, dim=-1)
        cells = stay.sigmoid() * cells + come_in.sigmoid() * cell.tanh()
        hidden = come_out.sigmoid() * cells.tanh()
        remembered.append(hidden)
    return torch.stack(remembered, dim=1), hidden[None], cells[None]


def _convolution(
    images: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if not _are_products(images, weights) or isinstance(padding, str) or _pair(dilation) != (1, 1) or groups > 1:
        return F.conv2d(images, weights, bias, stride, padding, dilation, groups)
    together = partial(convolution, stride=_pair(stride), padding=_pair(padding))
    return with_bias(each_whole(together, images, weights), bias)


def _transposed_convolution(
    maps: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    if not _are_products(maps, weights) or _pair(dilation) != (1, 1) or groups > 1:
        return F.conv_transpose2d(maps, weights, bias, stride, padding, output_padding, groups, dilation)
    options = {"stride": _pair(stride), "padding": _pair(padding), "extra": _pair(output_padding)}
    return with_bias(each_whole(partial(transposed_convolution, **options), maps, weights), bias)


def _are_products(*given: Tensor) -> bool:
    """Returns whether a convolution is carried out as products: on a GPU, but not in bfloat16, where groups are faster.

    As docs/performance.md has it of every layer of the default networks (convolutions).
    """
    return not torch.is_autocast_enabled("cuda") and all(
        _on_gpu(value) and value.dim() == 4 and _functorch.is_batchedtensor(value) for value in given
    )


def _on_gpu(value: Tensor) -> bool:
    return value.is_cuda


def each_whole(function: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """Returns ``function``, of a rule, of the tensors of all clients, or of all examples of all clients, (N, ...)."""

    def together(*whole: Tensor) -> Tensor:
        last, sizes = depth - 1, whole[0].shape[:depth]
        found = function(*(value.flatten(0, last) for value in whole))
        return found.view(*sizes, *found.shape[1:])

    depth = len(_wraps(given[0]))
    return over_all(together if depth > 1 else function, *given)


def over_all(function: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """Returns ``function`` of tensors with all the dimensions in front that it is carried out over."""
    wraps = [_wraps(value) for value in given]
    levels = [level for level, _ in wraps[0]]
    if any([level for level, _ in own] != levels for own in wraps):
        raise NotImplementedError("what some have for themselves with what others have in common")
    with _outside(*given) as bare:
        together = function(*(_in_front(value, own) for value, own in zip(bare, wraps, strict=True)))
    return _wrapped(together, [(level, 0) for level in levels])


Wraps = list[tuple[int, int]]
"""Of a tensor of clients, or examples: the level and the dimension of each of its wraps, from the innermost."""


def _wraps(value: Tensor) -> Wraps:
    found = []
    while _functorch.is_batchedtensor(value):
        found.append((_functorch.maybe_get_level(value), _functorch.maybe_get_bdim(value)))
        value = _functorch.get_unwrapped(value)
    return found[::-1]


def unwrapped(value: Tensor) -> Tensor:
    """Returns the tensor of all clients, or examples, that ``value`` is one client's part of."""
    while _functorch.is_batchedtensor(value):
        value = _functorch.get_unwrapped(value)
    return value


def _wrapped(value: Tensor, wraps: Wraps) -> Tensor:
    for level, place in wraps:
        value = _functorch._add_batch_dim(value, place, level)
    return value


def _in_front(value: Tensor, wraps: Wraps) -> Tensor:
    """Returns ``value`` with the dimensions of its wraps in front."""
    for number, (_, place) in enumerate(wraps):
        value = value.movedim(place + number, number)
    return value


@contextmanager
def _outside(*given: Tensor) -> Iterator[list[Tensor]]:
    """Gives the tensors that one client's are parts of; what is done with them is for all clients."""
    with ExitStack() as stack:
        for _ in range(_functorch.current_level()):
            stack.enter_context(temporarily_pop_interpreter_stack())
        yield [unwrapped(value) for value in given]


def with_bias(maps: Tensor, bias: Tensor | None) -> Tensor:
    """Returns maps (B, O, H, W) with a bias (O,) for each channel."""
    return maps if bias is None else maps + bias[:, None, None].to(maps.dtype)


_WRITTEN_OUT: Rules = {
    F.scaled_dot_product_attention: _attention,
    torch.lstm: _memory,
    F.conv2d: _convolution,
    F.conv_transpose2d: _transposed_convolution,
}
