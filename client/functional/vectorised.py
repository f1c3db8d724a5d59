"""One client's loss, evaluated for many clients at once, with all that ``torch.func.vmap`` alone refuses.

Objectives are written for one client. ``vmap`` carries most of their arithmetic over to a batch of clients, but not

- draws from a generator that is theirs: here each client's come from its own, so they are those of a client alone;
- ``requires_grad`` and ``torch.autograd.grad`` (R1, gradient penalties): autograd stays outside of ``vmap``, on the
  tensors of all clients together. As no client's output depends on another's input, the gradient of the sum of all
  outputs is every client's own;
- ``clamp_`` in place, for losses that bound weights;
- the functions of ``client.functional.written_out``.

A mode of torch's intercepts these calls; nothing else is changed. It stands on private functions of functorch, which a
test pins: ``torch.func.vmap`` itself takes a fifth of a small step to look through what it is given.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
from torch._functorch.vmap import lazy_load_decompositions  # type: ignore[attr-defined]
from torch.overrides import TorchFunctionMode

from client.functional.batch_dimensions import outside, unwrapped, wrapped, wraps_of
from client.functional.written_out import WRITTEN_OUT, Rules

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


def vectorised(function: Callable[..., Any], rules: Rules | None = None, depth: int = 1) -> Callable[..., Any]:
    """Returns ``function`` over the first dimensions of all its tensors; its results have these dimensions too.

    Args:
        function: Of one client; takes and returns tensors, or dictionaries and tuples of them. It may draw from
            ``Generators`` that it holds, with a depth of 1, and differentiate.
        rules: Beside those of ``client.functional.written_out``.
        depth: How many dimensions: 1, clients; 2, clients and examples of each.
    """
    rules = {**WRITTEN_OUT, **(rules or {})}
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
            with outside(args[0]) as (bare,):
                bare.requires_grad_(*args[1:], **kwargs)
            return args[0]
        if function is torch.Tensor.clamp_ and _functorch.is_batchedtensor(args[0]):
            with outside(args[0]) as (bare,):
                bare.clamp_(*args[1:], **kwargs)  # by limits that all have in common
            return args[0]
        return self._rules.get(function, function)(*args, **kwargs)


def _gradients(outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], *args: Any, **kwargs: Any) -> Any:
    """Returns each client's gradients of the sum of its ``outputs``."""
    if args or kwargs.get("grad_outputs") is not None:
        raise NotImplementedError("torch.autograd.grad with grad_outputs, for many clients at once")
    if not all(_functorch.is_batchedtensor(value) for value in (*inputs, *outputs)):
        raise NotImplementedError("torch.autograd.grad of what all clients have in common")
    with outside(*outputs, *inputs) as bare:
        totals = [value.sum() for value in bare[: len(outputs)]]
        found = torch.autograd.grad(totals, bare[len(outputs) :], **kwargs)
    return tuple(
        None if gradient is None else wrapped(gradient, wraps_of(like))
        for gradient, like in zip(found, inputs, strict=True)
    )
