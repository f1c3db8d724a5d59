"""A tracker that stands in for a real one, and a line of a journal for it."""

import sys
import threading
import types
from typing import ClassVar

import pytest

from server.records.tracking import background_sync, tracker_sync
from server.records.tracking.base import Tracker


@pytest.fixture
def quick(monkeypatch):
    """Has a run looked at often."""
    monkeypatch.setattr(background_sync, "_EVERY", 0.02)


@pytest.fixture
def tracker(monkeypatch):
    """Returns a tracker that stands in for tensorboard and keeps its calls; ``tracker.fail`` names one that raises."""

    class Recorder(Tracker):
        calls: ClassVar[list] = []
        fail = ""
        hang = threading.Event()

        def __init__(self, run):
            super().__init__(run)
            self.identity = run.identity or "first"
            self.note("open", run.identity, run.round, run.name, dict(run.config))

        def note(self, what, *values):
            if self.fail in (what, f"{what} of {values[0]}"):
                raise OSError(f"no {self.fail}\nat all")
            if self.fail == f"hang in {what}":
                self.hang.wait(20)
            self.calls.append((what, *values))

        def figures(self, round, values):
            self.note("figures", round, dict(values))

        def picture(self, round, path):
            self.note("picture", round, path.read_bytes()[:4])

        page = picture

        def rewind(self, round):
            self.note("rewind", round)

        def finish(self, scores, ended):
            self.note("finish", dict(scores), ended)

        @classmethod
        def of(cls, what):
            return [values for name, *values in cls.calls if name == what]

    module = types.ModuleType("recorder_of_this_test")
    module.Recorder = Recorder
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(tracker_sync.TRACKERS, "tensorboard", (module.__name__, "Recorder"))
    yield Recorder
    Recorder.hang.set()


@pytest.fixture
def line():
    """Returns a maker of lines of a journal."""

    def make(round, fid=None):
        scores = {"fid": float(round) if fid is None else fid, "kid": float("inf"), "client-fid": [1.0]}
        return {
            "round": round, "examples-seen": round, "seconds": {}, "bytes-down": 0, "bytes-up": 0, "clients": [],
            "refused": [], "scores": scores,
        }  # fmt: skip

    return make
