"""Sends a run to a tracker in the background; if the tracker fails, the run goes on and does not wait.

Nothing is sent again here: ``fedgan track`` sends what is missing.
"""

import logging
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from common.config import RunConfig
from server.records.run_directory import RunDirectory
from server.records.tracking.tracker_sync import TrackerSync

log = logging.getLogger("fedgan.server")

_EVERY = 1.0  # seconds between two looks at the journal
_PATIENCE = 30.0  # seconds that the end of a run waits for what was not sent yet


@contextmanager
def in_background(config: RunConfig, run: RunDirectory) -> Iterator[None]:
    """Sends the run to the tracker that ``tracking`` names, while the block trains and after it; or does nothing.

    Args:
        config: The run's.
        run: Its directory, with the journal as it is when the run goes on.
    """
    if config.tracking == "none":
        yield
        return
    sync = BackgroundSync(config, run)
    sync.start()
    ended = False
    try:
        yield
        ended = True
    finally:
        sync.stop(ended)


class BackgroundSync(threading.Thread):
    """Sends a tracker what comes into the journal; what goes wrong is one warning.

    Args:
        config: The run's.
        run: Its directory.
    """

    def __init__(self, config: RunConfig, run: RunDirectory) -> None:
        super().__init__(name="fedgan-tracking", daemon=True)  # a tracker that hangs holds no process
        self._config, self._run = config, run
        self._over = threading.Event()
        self._ended = False

    def stop(self, ended: bool) -> None:
        """Lets the rest be sent to the tracker, for at most half a minute."""
        self._ended = ended
        self._over.set()
        self.join(_PATIENCE)
        if self.is_alive():
            log.warning(
                "tracking=%r is not done after %g seconds and is left alone; %s",
                self._config.tracking,
                _PATIENCE,
                self._later,
            )

    def run(self) -> None:
        """Follows the journal until the run is over."""
        config = self._config
        try:
            sync = TrackerSync(config.tracking, config, self._run, anew=not config.output.resume)
            with sync.alone():
                sync.open()
                over = False
                while not over:
                    over = self._over.wait(_EVERY)  # before the last look
                    sync.send()
                sync.end(ended=self._ended)
        except Exception as error:  # whatever a tracker raises is no reason to lose a run
            reason = " ".join(f"{error}".split())[:500] or type(error).__name__
            log.warning(
                "tracking=%r is off from here on, the run goes on: %s; %s", config.tracking, reason, self._later
            )

    @property
    def _later(self) -> str:
        return f"fedgan track {shlex.quote(str(self._run.path))} --to {self._config.tracking} tells what is missing"
