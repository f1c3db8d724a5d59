"""Networks that compute with other weights than their own, for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


class BorrowingNetworks(nn.ModuleDict):
    """Networks that borrow the weights and buffers which they are given.

    As ``torch.func.functional_call``, which looks every weight up by its name at every call, in a tenth of the time.

    Args:
        networks: By name; theirs are the weights and buffers that are put back.
    """

    def __init__(self, networks: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__(networks)
        names = {id(value): key for key, value in [*self.named_parameters(), *self.named_buffers()]}
        self._places: list[tuple[dict[str, Tensor | None], str, str]] = []
        for module in self.modules():
            for own in (module._parameters, module._buffers):
                kept: dict[str, Tensor | None] = own  # type: ignore[assignment]
                self._places += [(kept, name, names[id(value)]) for name, value in kept.items() if value is not None]

    @contextmanager
    def borrowing(self, weights: Mapping[str, Tensor]) -> Iterator[dict[str, nn.Module]]:
        """Gives the networks, which have ``weights`` while the block runs; what is not named stays."""
        own = [place[name] for place, name, _ in self._places]
        for place, name, key in self._places:
            if key in weights:
                place[name] = weights[key]
        try:
            yield dict(self.items())
        finally:
            for (place, name, _), value in zip(self._places, own, strict=True):
                place[name] = value
