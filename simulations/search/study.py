"""The memory of a search: an Optuna study in a file of its folder, which several processes may use."""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import filelock

from common.config import Scalar
from common.errors import ConfigError
from common.files import whole_lines
from common.seeding import derive_seed
from simulations.search.plan import Plan, Sampler

if TYPE_CHECKING:
    import optuna

SETTINGS, REASON, TRIES, LEFT_OUT = "settings", "reason", "tries", "left-out"
"""What is noted of a trial: its settings, why it ended, how often it was begun, and whether it is no trial at all."""

_NAME = "search"
_ENOUGH = 5  # trials with a score, to say what it depends on
_BEST = 0.25  # of them, whose parameters are compared with all others'
_FACTOR = 3  # of each of hyperband's steps one trial in so many goes on


def require_optuna() -> None:
    """Checks that Optuna is installed.

    Raises:
        ConfigError: It is not.
    """
    try:
        import optuna  # noqa: F401
        import scipy  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"a search needs {error.name}: pip install 'fedgan[search]'") from None


class _Lock:
    """A lock of the journal that dies with its process: Optuna's own outlive it, and then all others wait."""

    def __init__(self, path: Path) -> None:
        self._lock = filelock.FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps to itself what Optuna says of parts that may change in its later versions."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def mend(path: Path) -> None:
    """Cuts off a last line that is torn, as of a process that was killed while it wrote; nobody else may be at work."""
    if path.exists():
        with path.open("rb+") as stream:
            stream.truncate(len(b"".join(row + b"\n" for row in whole_lines(path))))


def open_study(path: Path, plan: Plan) -> "optuna.Study":
    """Returns the study in a file, which is made if it is not there.

    Args:
        path: The journal of Optuna.
        plan: The search.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with quietly():
        backend = JournalFileBackend(str(path), lock_obj=cast(Any, _Lock(path.with_suffix(".lock"))))
        return optuna.create_study(
            storage=JournalStorage(backend),
            study_name=_NAME,
            direction="minimize" if plan.better == "lower" else "maximize",
            load_if_exists=True,
            pruner=_pruner_of(plan),
        )


def sampler_of(name: Sampler, seed: int, number: int, side_by_side: int) -> "optuna.samplers.BaseSampler":
    """Returns what proposes the settings of one trial: anew for each, so that a search that goes on is the same one.

    Args:
        name: ``tpe``: Bergstra et al. 2011, jointly over parameters that are drawn together; ``random``.
        seed: Of the search.
        number: Of the trial.
        side_by_side: Trials at a time.
    """
    import optuna

    own = derive_seed(seed, "search", number) % 2**32
    with quietly():
        if name == "random":
            return optuna.samplers.RandomSampler(seed=own)
        return optuna.samplers.TPESampler(seed=own, multivariate=True, group=True, constant_liar=side_by_side > 1)


def _pruner_of(plan: Plan) -> "optuna.pruners.BasePruner":
    """Returns what decides which trials end early.

    ``hyperband``: Li et al. 2018, by halving in brackets; ``wilcoxon``: by a signed-rank test against the best trial,
    round by round.
    """
    import optuna

    if plan.pruner == "hyperband":
        first = max(1, min(plan.base.evaluation.every, plan.most_rounds))
        return optuna.pruners.HyperbandPruner(first, plan.most_rounds, _FACTOR)
    if plan.pruner == "wilcoxon":
        return optuna.pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=2)
    return optuna.pruners.NopPruner()


def draws(plan: Plan, number: int) -> list[dict[str, Scalar]]:
    """Returns settings drawn at random, to look at."""
    require_optuna()
    import optuna

    with quietly():
        study = optuna.create_study(sampler=sampler_of("random", plan.base.seed, 0, 1))
        return [plan.space.draw(study.ask(), plan.base) for _ in range(number)]


def importances(study: "optuna.Study") -> dict[str, float]:
    """Returns how much each parameter matters to the score, as shares of 1; empty where too little is known.

    By PED-ANOVA (Watanabe et al. 2023): how much the values of the best trials differ from those of all.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    found: dict[str, float] = {}
    if len(done) < _ENOUGH or len({trial.value for trial in done}) < 2:
        return found
    with quietly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=_BEST)))
        except (ValueError, RuntimeError) as error:
            logging.getLogger("fedgan.simulations").debug("no importances: %s", error)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def frozen(study: "optuna.Study", number: int) -> "optuna.trial.FrozenTrial":
    """Returns what is known of a trial."""
    return study.get_trials(deepcopy=False)[number]


def reopened(study: "optuna.Study", number: int) -> "optuna.Trial":
    """Returns a trial that another process has begun, to go on with."""
    import optuna

    with quietly():
        return optuna.trial.Trial(study, frozen(study, number)._trial_id)


def prune(study: "optuna.Study", number: int, why: str) -> None:
    """Notes that a trial has ended before it had its score: its settings are to be kept away from."""
    import optuna

    reopened(study, number).set_user_attr(REASON, why)
    study.tell(number, state=optuna.trial.TrialState.PRUNED)


def fail(study: "optuna.Study", number: int, why: str) -> None:
    """Notes that a trial has failed, which says nothing of its settings."""
    import optuna

    reopened(study, number).set_user_attr(REASON, why)
    study.tell(number, state=optuna.trial.TrialState.FAIL)
