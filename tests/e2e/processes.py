"""The command `fedgan` in processes that can be killed, forked from one that has imported everything."""

import contextlib
import multiprocessing
import os
import signal
import sys

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("simulations.runtime.in_process", "simulations.commands.main", "simulations.runtime.progress"),
        *("torch._dynamo", "matplotlib"),
    ]
)


def _command(arguments, log, dies_at):
    with open(log, "a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    _draw_nothing()
    if dies_at is not None:
        _die_at(*dies_at)
    from simulations.commands import main

    sys.argv = ["fedgan", *map(str, arguments)]
    main.main()


def _draw_nothing():
    """Has plots written as ever, but empty: most of the time of a small run would go into drawing them."""
    from server.records import plots

    class Empty:
        def savefig(self, path, **options):
            path.write_bytes(b"no picture")

    plots._svg = lambda draw, alt: "<svg></svg>"
    plots._partition = lambda summary: Empty()


def _die_at(name, call):
    """Kills this process just before the given call, counted from 1, of a function that writing a file goes through."""
    from common import files

    owner, attribute = {"fsync": (files.os, "fsync"), "replace": (files.Path, "replace")}[name]
    original, calls = getattr(owner, attribute), iter(range(1, 1_000_000))

    def counted(*arguments):
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)

    setattr(owner, attribute, counted)


class Command:
    """One start of `fedgan ARGUMENTS`.

    Args:
        arguments: Of the command line.
        log: A file for what it prints.
        dies_at: "fsync" or "replace", and before which call of it the process kills itself.
    """

    def __init__(self, arguments, log, dies_at=None):
        self._log = log
        self._process = _CONTEXT.Process(target=_command, args=(arguments, log, dies_at), daemon=True)
        self._process.start()

    def wait(self, seconds=300):
        """Returns the exit code, negative for a signal; None if it still runs."""
        self._process.join(seconds)
        return self._process.exitcode

    def runs(self):
        """Returns whether it has not ended yet."""
        return self._process.is_alive()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        return self.wait()

    def output(self):
        return self._log.read_text(encoding="utf-8", errors="replace")
