"""What a person sees while a run is under way: plain lines, and bars on a terminal."""

import io
import logging
import threading

import pytest
from rich.console import Console

from server.evaluation import steps
from simulations.runtime import progress

log = logging.getLogger("fedgan.server")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def score():
    """Does what the end of a run does."""
    final = steps.Final()
    steps.announce(10_000, ["sampling", "fid", "utility"])
    for name in ("sampling", "utility", "fid"):
        final.run(name, lambda: {}, {})
    log.info("report: here")


def test_plain_lines_say_what_is_computed_and_how_long_it_took():
    stream = io.StringIO()
    with progress.scoring(stream):
        score()
    assert stream.getvalue().splitlines() == [
        "final scores on 10,000 samples: sampling, fid, utility ...",
        "sampling: 0.0 s",
        "utility: 0.0 s",
        "fid: 0.0 s",
        "report: here",
    ]


@pytest.mark.parametrize("on_terminal", [False, True])
def test_a_step_that_takes_long_says_so_meanwhile_and_on_a_terminal_the_bar_does(monkeypatch, on_terminal):
    monkeypatch.setattr(Console, "is_terminal", property(lambda self: on_terminal))
    monkeypatch.setattr(steps, "_SAY_EVERY", 0.001)
    heard, stream = threading.Event(), Terminal()

    class Listener(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith("utility: 0 s so far"):
                heard.set()

    with progress.scoring(stream), progress.hearing(Listener()):
        steps.Final().run("utility", lambda: heard.wait(30), False)
    assert heard.is_set()
    assert ("utility: 0 s so far" in stream.getvalue()) == (not on_terminal)
    assert not [thread for thread in threading.enumerate() if thread.name == "fedgan-progress"]


def test_on_a_terminal_a_bar_says_what_is_still_to_come(monkeypatch):
    monkeypatch.setattr(Console, "is_terminal", property(lambda self: True))
    bars = []
    with progress._shown(Terminal()) as lines:
        advance = lines._progress.update

        def update(bar, **values):
            advance(bar, **values)
            bars.append((lines._progress.tasks[bar].completed, values["info"]))

        monkeypatch.setattr(lines._progress, "update", update)
        score()
    assert bars == [(0, "sampling, fid, utility"), (1, "fid, utility"), (2, "fid"), (3, "")]


def test_what_fails_is_shown_with_its_step_and_no_more(caplog):
    caplog.set_level("INFO", logger="fedgan.server")
    final = steps.Final()

    def broken():
        raise ValueError("no")

    assert final.run("kid", broken, {}) == {}
    assert final.failed == {"kid": "it failed: ValueError: no (a defect; --debug shows where)"}
    assert caplog.messages == ["kid: 0.0 s"]


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ({}, []),
        ({"fid": "so"}, ["fid is not computed: so"]),
        ({"fid": "so", "kid": "so", "utility": "other", "prdc": "so"},
         ["fid, kid and prdc are not computed: so", "utility is not computed: other"]),
    ],
)  # fmt: skip
def test_reasons_are_put_together(reasons, expected):
    assert steps.sentences(reasons) == expected
