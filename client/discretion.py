"""What a client says of its failures: under a promise of privacy nothing that could repeat a value of an example."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from common.config import RunConfig
from common.errors import (
    ConfigError,
    DataError,
    DivergenceError,
    FederationError,
    FedGANError,
    PrivacyError,
    ProtocolError,
    in_words,
)
from common.queries import RefusalError

log = logging.getLogger("fedgan.client")

_OF_SETTINGS = (ConfigError, ProtocolError, PrivacyError, RefusalError)  # about settings, messages and promises alone
_GENERIC: dict[type[FedGANError], str] = {
    DataError: "the site's examples cannot be used",
    DivergenceError: "training has diverged",
    FederationError: "the client has failed",
}


@contextmanager
def discreet(config: RunConfig) -> Iterator[None]:
    """Has what fails under a promise of privacy say so in a general sentence; the site's own log has the whole of it.

    Raises:
        FedGANError: In place of what failed.
    """
    try:
        yield
    except _OF_SETTINGS:
        raise
    except Exception as error:
        if not config.privacy_component.private:
            raise
        log.error("not sent to the server, as the run promises privacy: %s", in_words(error), exc_info=error)
        kind = next(kind for kind in (*_GENERIC, FedGANError) if isinstance(error, kind) or kind is FedGANError)
        kind = kind if kind in _GENERIC else FederationError
        raise kind(f"{_GENERIC[kind]}: its own log says why, and the run's promise of privacy keeps it there") from None
