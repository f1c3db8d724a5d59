"""What a run is doing, from its files alone."""

import math
import time
from typing import Literal

from common.journal_lines import EventLine, RoundLine, is_event
from server.records import time_left
from simulations.runs.run_view import View

State = Literal["running", "waiting for nodes", "finished", "failed"]

_PACE = 10  # last rounds whose time tells that of the next
_PATIENCE = 60.0  # seconds without a change after which a run whose process cannot be seen counts as dead


def state_of(view: View) -> tuple[State, str]:
    """Returns the state of a run, and it in a sentence.

    A run is at work while a process holds its lock. Where the system does not tell that, the age of its record does.
    """
    if view.at_work or (view.at_work is None and not is_finished(view) and _fresh(view)):
        return _at_work(view)
    if is_finished(view):
        return "finished", _how_it_finished(view)
    return "failed", _how_it_failed(view)


def _at_work(view: View) -> tuple[State, str]:
    done, rounds = view.last_round, view.rounds
    if view.began is not None and (view.roster_at is None or view.roster_at < view.began):
        of_all = f"all {view.clients}" if view.clients else "the"
        return "waiting for nodes", f"Waiting for {of_all} clients to connect."
    if rounds is not None and done >= rounds:
        return "running", f"All {done} rounds are done; the last generator is being scored."
    return "running", f"Round {done + 1}{f' of {rounds}' if rounds else ''} is under way."


def _how_it_finished(view: View) -> str:
    done = view.last_round
    if made := next((event["reason"] for event in reversed(view.events) if event["event"] == "compressed"), ""):
        return f"A compressed generator: {made}."
    if reason := _ended_early(view):
        return f"Finished early, after round {done}: {reason}."
    return f"Finished after {done} rounds."


def _how_it_failed(view: View) -> str:
    done = view.last_round
    after = f"after round {done}" if done else "before its first round was done"
    if stop := stop_of(view):
        return f"Stopped {after}: {stop['reason'].rstrip('.')}."
    if view.problem:
        return f"No process is at work on it; it ended {after}, and its configuration cannot be read."
    if not done and (view.summary or any(view.checkpoint_rounds)):
        return "No process is at work on it, and its journal does not tell how far it came."
    return f"No process is at work on it; it ended {after} without saying why, and can be resumed."


def stop_of(view: View) -> EventLine | None:
    """Returns the event that says why the run stopped; None if it says nothing, or has gone on since."""
    for line in reversed(view.journal):
        if not is_event(line) or line["event"] == "resumed":
            return None
        if line["event"] == "stopped":
            return line
    return None


def _ended_early(view: View) -> str:
    """Returns why the run was over before its last round; empty if it was not."""
    early = (event for event in reversed(view.events) if event["event"] == "early-stop")
    return next((event["reason"] for event in early if event["round"] == view.last_round), "")


def is_finished(view: View) -> bool:
    """Returns whether the run came to its end: there is a summary, and it is that of the last round."""
    return bool(view.summary) and view.summary.get("rounds") == view.last_round and not _resumed_since(view)


def seconds_left(view: View, state: State) -> float | None:
    """Returns the time to the end of the last round, by the pace of the last ones; None where it is not known."""
    if state != "running" or not view.lines or view.config is None:
        return None
    left = time_left.seconds_left_after(view.config, view.lines)
    since = max(0.0, time.time() - view.updated)
    left -= min(since, seconds_of(view.lines[-1]))
    return max(0.0, left) if math.isfinite(left) else None


def seconds_of(line: RoundLine) -> float:
    """Returns how long a round took."""
    return float(sum(line["seconds"].values()))


def _fresh(view: View) -> bool:
    slowest = max((seconds_of(line) for line in view.lines[-_PACE:]), default=0.0)
    return time.time() - view.updated < max(_PATIENCE, 5 * slowest)


def _resumed_since(view: View) -> bool:
    """Returns whether the run went on after it had finished, as with more rounds: then its summary is an old one."""
    return view.rounds is not None and view.last_round < view.rounds and not _ended_early(view)
