"""The dimensions of a batch of clients or examples, which ``vmap`` hides: taken for a call of all, and hidden again.

They stand on private functions of functorch, which a test of ``client.functional.vectorised`` pins.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack

Wraps = list[tuple[int, int]]
"""Of a tensor of clients, or examples: the level and the dimension of each of its wraps, from the innermost."""


def each_whole(function: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """Returns ``function``, of a rule, of the tensors of all clients, or of all examples of all clients, (N, ...)."""

    def together(*whole: Tensor) -> Tensor:
        last, sizes = depth - 1, whole[0].shape[:depth]
        found = function(*(value.flatten(0, last) for value in whole))
        return found.view(*sizes, *found.shape[1:])

    depth = len(wraps_of(given[0]))
    return over_all(together if depth > 1 else function, *given)


def over_all(function: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """Returns ``function`` of tensors with all the dimensions in front that it is carried out over."""
    found = [wraps_of(value) for value in given]
    levels = [level for level, _ in found[0]]
    if any([level for level, _ in own] != levels for own in found):
        raise NotImplementedError("what some have for themselves with what others have in common")
    with outside(*given) as bare:
        together = function(*(_in_front(value, own) for value, own in zip(bare, found, strict=True)))
    return wrapped(together, [(level, 0) for level in levels])


def wraps_of(value: Tensor) -> Wraps:
    """Returns the wraps of a tensor; none where it is not batched."""
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


def wrapped(value: Tensor, wraps: Wraps) -> Tensor:
    """Returns the part of one client, or example, of a tensor of all that has these wraps."""
    for level, place in wraps:
        value = _functorch._add_batch_dim(value, place, level)
    return value


def _in_front(value: Tensor, wraps: Wraps) -> Tensor:
    """Returns ``value`` with the dimensions of its wraps in front."""
    for number, (_, place) in enumerate(wraps):
        value = value.movedim(place + number, number)
    return value


@contextmanager
def outside(*given: Tensor) -> Iterator[list[Tensor]]:
    """Gives the tensors that one client's are parts of; what is done with them is for all clients."""
    with ExitStack() as stack:
        for _ in range(_functorch.current_level()):
            stack.enter_context(temporarily_pop_interpreter_stack())
        yield [unwrapped(value) for value in given]
