"""What a run is doing, from its files alone."""

import time

from common.config import RunConfig
from server.journal import Line
from simulations.serve.record import View
from simulations.serve.schemas import State

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
    return "failed", view.problem or _how_it_failed(view)


def _at_work(view: View) -> tuple[State, str]:
    done, federation = view.last_round, (view.config or RunConfig()).federation
    if view.began is not None and (view.roster_at is None or view.roster_at < view.began):
        return "waiting for nodes", f"Waiting for all {federation.num_clients} clients to connect."
    if done >= federation.num_rounds:
        return "running", f"All {done} rounds are done; the last generator is being scored."
    return "running", f"Round {done + 1} of {federation.num_rounds} is under way."


def _how_it_finished(view: View) -> str:
    done = view.last_round
    for event in reversed(view.events):
        if event["event"] == "early-stop" and event["round"] == done:
            return f"Finished early, after round {done}: {event['reason']}."
    return f"Finished after {done} rounds."


def _how_it_failed(view: View) -> str:
    done, last = view.last_round, view.events[-1] if view.events else None
    after = f"after round {done}" if done else "before its first round was done"
    if last and last["event"] == "stopped" and last["round"] == done:
        return f"Stopped {after}: {last['reason']}."
    return f"No process is at work on it; it ended {after} without saying why, and can be resumed."


def is_finished(view: View) -> bool:
    """Returns whether the run came to its end: there is a summary, and it is that of the last round."""
    return bool(view.summary) and view.summary.get("rounds") == view.last_round and not _resumed_since(view)


def seconds_left(view: View, state: State) -> float | None:
    """Returns the time to the last round, by the pace of the last rounds; None where it is not known."""
    if state != "running" or not view.lines or view.config is None:
        return None
    recent = view.lines[-_PACE:]
    pace = sum(seconds_of(line) for line in recent) / len(recent)
    left = (view.config.federation.num_rounds - view.last_round) * pace
    return max(0.0, left - min(pace, max(0.0, time.time() - view.updated)))


def seconds_of(line: Line) -> float:
    """Returns how long a round took."""
    return float(sum(value for value in line["seconds"].values() if isinstance(value, int | float)))


def _fresh(view: View) -> bool:
    slowest = max((seconds_of(line) for line in view.lines[-_PACE:]), default=0.0)
    return time.time() - view.updated < max(_PATIENCE, 5 * slowest)


def _resumed_since(view: View) -> bool:
    """Returns whether the run went on after it had finished, as with more rounds: then its summary is an old one."""
    rounds = view.config.federation.num_rounds if view.config else 0
    early = any(event["event"] == "early-stop" and event["round"] == view.last_round for event in view.events)
    return view.last_round < rounds and not early
