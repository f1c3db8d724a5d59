"""What a search says of itself in its folder: which trials it made, what they scored, and which settings are best."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from common.components import kebab
from common.errors import CheckpointError
from common.files import read_file, write_atomically
from server.records.run_directory import RunDirectory
from simulations.runs.run_reader import held

Value = bool | int | float | str
TrialState = Literal["running", "complete", "pruned", "failed"]

RECORD = "search.json"
"""By which the folder of a search is known."""

_LONGEST = 64 * 2**20


class SearchFolder:
    """The files of one search, all below one absolute path.

    DIR/search.json                   what all below comes to: see ``SearchRecord``
    DIR/study.jsonl                   what the sampler knows
    DIR/trials/0003/                  a trial: a run directory
    DIR/finalists/0003/seed-1/        a finalist with another seed: likewise
    DIR/best.toml                     the best settings, a preset
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.record = self.path / RECORD
        self.study = self.path / "study.jsonl"
        self.best = self.path / "best.toml"
        self.lock = self.path / ".lock"

    def trial(self, number: int) -> RunDirectory:
        """Returns the run directory of a trial."""
        return RunDirectory(self.path / "trials" / f"{number:04d}")

    def finalist(self, number: int, seed: int) -> RunDirectory:
        """Returns the run directory of a finalist, by its trial and the seed that it is repeated with."""
        return RunDirectory(self.path / "finalists" / f"{number:04d}" / f"seed-{seed}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=kebab, populate_by_name=True)


class ParameterRow(_Part):
    """What is drawn.

    Attributes:
        name: ``local.learning-rate``, or ``objective.hinge.r1`` for an option of a component.
        low: Of a range; None of choices.
        high: Likewise.
        log: Whether the range is looked at by its logarithm.
        choices: Of choices; empty of a range.
        importance: Which share of what all parameters tell of the score this one does, by PED-ANOVA; None: not known.
    """

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: list[Value] = []
    importance: float | None = None


class TrialRow(_Part):
    """One trial.

    Attributes:
        number: From 0, in order of their beginning; some are left out, as their settings were no configuration.
        state: What became of it.
        parameters: What was drawn, by parameter.
        settings: Likewise by key of the configuration.
        value: Its score, of its last round if it was pruned; None where there is none.
        rounds: How many it trained.
        seconds: Of its rounds and final scores so far; None: not known.
        reason: Why it was pruned or has failed.
        run: Its run directory, relative to the search's.
    """

    number: int
    state: TrialState
    parameters: dict[str, Value]
    settings: dict[str, Value]
    value: float | None = None
    rounds: int = 0
    seconds: float | None = None
    reason: str = ""
    run: str = ""


class FinalistRow(_Part):
    """A trial that is repeated with other seeds.

    Attributes:
        trial: Its number.
        first: The score that it was picked by.
        values: Scores with other seeds, by seed.
        reasons: Why a repetition has no score, by seed.
        mean: Of those scores, without the one that it was picked by; None before there is one.
        deviation: Their standard deviation (n - 1); None of less than two.
    """

    trial: int
    first: float
    values: dict[int, float] = {}
    reasons: dict[int, str] = {}
    mean: float | None = None
    deviation: float | None = None


class SearchRecord(_Part):
    """A search at one moment.

    Attributes:
        metric: The score that is searched for.
        better: Whether ``lower`` or ``higher`` is.
        preset: What is not searched, by name.
        config: The same, by dotted key.
        sampler: See ``--sampler``.
        pruner: See ``--pruner``.
        trials: Trials that were asked for.
        budget: Seconds that were allowed; None: any number.
        seconds: How long it was at work, over all its sessions.
        parameters: What is drawn.
        rows: Trials.
        left_out: Draws that were no trial: no configuration, or the settings of an earlier trial.
        finalists: Best first as soon as they are averaged.
        best: Number of the trial with the best settings; None before there is one.
        ended: Why no further trial is made; empty while there are some to make.
    """

    metric: str
    better: Literal["lower", "higher"]
    preset: str
    config: dict[str, Value]
    sampler: str
    pruner: str
    trials: int
    budget: float | None = None
    seconds: float = 0.0
    parameters: list[ParameterRow] = []
    rows: list[TrialRow] = []
    left_out: int = 0
    finalists: list[FinalistRow] = []
    best: int | None = None
    ended: str = ""

    def write(self, folder: SearchFolder) -> None:
        """Writes it into the folder of the search."""
        write_atomically(folder.record, self.model_dump_json(by_alias=True, indent=1).encode())


def read_record(folder: SearchFolder) -> SearchRecord | None:
    """Returns what a search says of itself; None where there is none.

    Raises:
        CheckpointError: The file is not whole; names it.
    """
    try:
        return SearchRecord.model_validate_json(read_file(folder.record, _LONGEST))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        words = f"{error.errors()[0]['msg']}" if isinstance(error, ValidationError) else error.strerror
        raise CheckpointError(
            f"{folder.record} is not whole ({words}): remove it, and give the command of the search again"
        ) from None


class SearchReader:
    """One search, read again where its record has changed.

    Args:
        name: In addresses.
        folder: Where it is.
    """

    def __init__(self, name: str, folder: SearchFolder) -> None:
        self.name, self.folder = name, folder
        self._read: tuple[object, SearchRecord] | None = None

    def record(self) -> SearchRecord:
        """Returns what it says of itself now.

        Raises:
            CheckpointError: It is not there any more, or not whole.
        """
        try:
            status = self.folder.record.stat()
        except OSError as error:
            raise CheckpointError(f"{self.folder.record.name} cannot be read: {error.strerror}") from None
        state = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._read is None or self._read[0] != state:
            found = read_record(self.folder)
            if found is None:
                raise CheckpointError(f"{self.folder.record.name} is not there any more")
            self._read = (state, found)
        return self._read[1]

    def at_work(self) -> bool | None:
        """Returns whether a process is at work on it; None where the system does not tell."""
        return held(self.folder.lock)

    def updated(self) -> float:
        """Returns when its record last changed, in seconds since 1970; 0 if it is not there."""
        try:
            return self.folder.record.stat().st_mtime
        except OSError:
            return 0.0
