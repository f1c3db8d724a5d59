"""The command ``fedgan track``, which sends a run to an experiment tracker, also one that is still going."""

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import ConfigError, FedGANError
from simulations.commands.options import JsonOption, RunArgument

if TYPE_CHECKING:
    from server.records.run_directory import RunDirectory
    from server.records.tracking import TrackerSync

_EVERY = 1.0  # seconds between two looks at the journal


def track(
    run: RunArgument,
    to: Annotated[str, typer.Option("--to", help="tensorboard, wandb or mlflow.")],
    as_json: JsonOption = False,
) -> None:
    """Send a run to an experiment tracker: what it does not have yet, and of a run under way all until it ends."""
    from common.components import suggestion
    from server.records.run_directory import RunDirectory
    from server.records.tracking import TRACKERS, TrackerSync

    if to not in TRACKERS:
        raise ConfigError(f"--to {to!r}: no such tracker; {suggestion(to, TRACKERS)}")
    directory = RunDirectory.existing(run)
    sync = TrackerSync(to, directory.read_config(), directory)
    try:
        with sync.alone():
            rounds, where = _tell(sync, directory)
    except FedGANError:
        raise
    except KeyboardInterrupt:
        typer.echo("no longer followed; the same command goes on from there", err=True)
        raise
    except Exception as error:  # whatever the tracker raises
        reason = " ".join(f"{error}".split())[:500] or type(error).__name__
        raise FedGANError(f"{to} did not get everything: {reason}; the same command goes on from there") from None
    if as_json:
        typer.echo(json.dumps({"run": str(directory.path), "to": to, "rounds": rounds, "where": where}))
        return
    typer.echo(f"{rounds} rounds sent" if where else f"{to} is up to date: nothing was sent", err=True)
    if where:
        typer.echo(where)


def _tell(sync: "TrackerSync", run: "RunDirectory") -> tuple[int, str | None]:
    """Sends all there is, until the run has ended; returns how many rounds, and where they are shown."""
    from simulations.runs.run_reader import RunReader
    from simulations.runs.status import state_of

    record = RunReader(run.name, run)
    state, _ = state_of(record.view())
    if state in ("finished", "failed") and sync.is_complete(ended=state == "finished"):
        return 0, None
    tracker = sync.open()
    rounds = sync.send()
    while state not in ("finished", "failed"):
        time.sleep(_EVERY)
        state, _ = state_of(record.view())  # before the last look
        rounds += sync.send()
    sync.end(ended=state == "finished")
    return rounds, tracker.where
