"""What an export format is: a kind of file for a network, written here and read back by another program."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import ClassVar

from torch import Tensor

from common.errors import ConfigError
from common.models import Sampler
from simulations.export.network import Precision

Network = Callable[[Tensor, Tensor], Tensor]
"""Latents float32 (B, Z) and labels int64 (B,) to images float32 (B, C, S, S) in [-1, 1], for any B >= 1.

Of text: tokens int64 (B, L) and labels to logits float32 (B, L, number of tokens)."""


class Format(ABC):
    """One kind of file that holds a generator.

    Attributes:
        ending: Of its files.
        needs: Modules that it imports, which fedgan does not bring along.
        extra: What to install for them: ``pip install 'fedgan[EXTRA]'``.
        usage: How to make examples with a file ``generator<ending>``, in Python, by their kind.
    """

    ending: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    usage: ClassVar[Mapping[str, str]]

    def require(self, name: str) -> None:
        """Checks that all that this format needs is installed.

        Raises:
            ConfigError: Something is missing; says what to install.
        """
        for module in self.needs:
            require(module, self.extra, name)

    @abstractmethod
    def write(self, generator: Sampler, precision: Precision, facts: Mapping[str, str]) -> bytes:
        """Returns the content of a file.

        Args:
            generator: See ``common.generation.load_sampler``.
            precision: Of its weights.
            facts: Written into the file, as text by key.
        """

    @abstractmethod
    def read(self, content: bytes) -> Network:
        """Returns the network in a file, run by what runs such files elsewhere."""


def require(module: str, extra: str, what: str) -> None:
    """Checks that a module of an optional extra is installed.

    Raises:
        ConfigError: It is not; says what to install.
    """
    try:
        import_module(module)
    except ImportError as error:
        raise ConfigError(f"{what} needs {module} ({error}): pip install 'fedgan[{extra}]'") from None
