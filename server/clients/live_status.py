"""What the clients of the round that is under way are doing, for whoever looks at the run from outside."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

log = logging.getLogger("fedgan.server")

ClientStatus = Literal["requested", "training", "answered", "silent", "away"]
"""``requested``: no answer yet; ``training`` only where the server can see it; ``silent``: its reply is no use."""

_PAUSE = 0.5  # seconds from one writing to the next


class LiveStatus:
    """Keeps ``now.json`` while the block runs: written in a thread of its own, seldom, and where something has changed.

    Nobody goes on from it. So it is replaced at once, but not made to last, and a run whose disk is full goes on.

    Args:
        path: Where. A process that is killed leaves it there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._round: dict[str, Any] = {}
        self._clients: dict[int, ClientStatus] = {}
        self._changed, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="fedgan-now", daemon=True)

    def begin(self, round: int, cohort: Iterable[int]) -> None:
        """Says that a round begins: its clients are asked."""
        self._clients = dict.fromkeys(cohort, "requested")
        self._round = {"round": round, "since": time.time(), "clients": self._clients}
        self._changed.set()

    def put(self, partition: int, doing: ClientStatus) -> None:
        """Says what a client of the round does; called in any thread, and costs a microsecond."""
        if self._clients.get(partition, doing) != doing:
            self._clients[partition] = doing
            if not self._changed.is_set():
                self._changed.set()

    def __enter__(self) -> "LiveStatus":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._changed.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _follow(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        while self._changed.wait() and not self._over.is_set():
            self._changed.clear()
            try:
                temporary.write_text(json.dumps(self._round), encoding="utf-8")
                temporary.replace(self._path)
            except OSError as error:
                log.debug("%s cannot be written: %s", self._path, error)
            self._over.wait(_PAUSE)
