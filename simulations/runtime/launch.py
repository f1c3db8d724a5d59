"""From a preset and settings to a run in this process: for the command line and for notebooks."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from common.config import RunConfig
from common.errors import ConfigError
from server.records import run_directory
from server.records.run_directory import RunDirectory
from server.rounds.base import Hook
from simulations.runtime.settings import read_preset


def resolve(preset: str | None, settings: Mapping[str, Any]) -> tuple[RunConfig, RunDirectory]:
    """Returns the whole configuration of a run, and its folder; starts nothing.

    Args:
        preset: A preset's name, or a TOML file; None: quickstart, or the run's own configuration where it goes on.
        settings: Dotted keys and values that go before those of the preset.

    Raises:
        ConfigError: A preset that is not there, a key or value that is none, or a run to go on with that is not named.
    """
    base = read_preset(preset or "quickstart")
    output = RunConfig.from_flat(base | dict(settings)).output
    run = run_directory.resolve(output.dir, Path.cwd())
    if output.resume and not output.dir:
        raise ConfigError("--resume needs --out DIR, the run directory to go on in")
    if output.resume and preset is None and run.config.exists():
        base = run.read_config().flat()  # to go on, a run's own configuration need not be given again
    return RunConfig.from_flat(base | dict(settings)), run


def check(config: RunConfig) -> None:
    """Checks that the data allow a configuration; cheap beside a run, which needs all of it later and keeps it.

    Raises:
        ConfigError: The data cannot be split so, or the model or the objective does not fit the images.
        DataError: The data are missing or unreadable.
    """
    import torch

    from client.data import load, split

    dataset = load(config.data)
    split(config)
    config.objective_component.check(dataset.spec)
    with torch.device("meta"):
        config.model_component.networks(dataset.spec)


def train(
    config: RunConfig,
    run: RunDirectory,
    workers: int | None,
    engine: str,
    stream: TextIO | None,
    hooks: Sequence[Hook] = (),
) -> None:
    """Runs a federation in this process, to its end.

    Args:
        config: As ``resolve`` returns it.
        run: Its folder.
        workers: Clients at a time; None: one a core.
        engine: See ``simulations.runtime.in_process.simulate``.
        stream: Where to show how it goes; None: only warnings, on stderr.
        hooks: Look at each finished round, after those of the configuration.

    Raises:
        FedGANError: The run could not start or go on.
    """
    run.check(config.output.resume)
    root = str(Path(config.data.root).expanduser().absolute())  # so that the run can be used from any folder
    config = config.replaced({"output.dir": str(run.path), "data.root": root})

    from simulations.runtime.in_process import simulate

    logging.getLogger("flwr").setLevel(logging.ERROR)  # importing Flower has set it to INFO
    from simulations.runtime.progress import hearing, watching

    if stream is None:
        warnings = logging.StreamHandler()
        warnings.setLevel(logging.WARNING)
        warnings.setFormatter(logging.Formatter("fedgan: %(message)s"))
        with hearing(warnings):
            simulate(config, num_workers=workers, engine=engine, hooks=hooks)
        return
    with watching(config, stream) as on_reply:
        simulate(config, num_workers=workers, on_reply=on_reply, engine=engine, hooks=hooks)
