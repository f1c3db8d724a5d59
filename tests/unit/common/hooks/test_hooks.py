"""What every round hook keeps to, and what a configuration says of those that do not go with it."""

import copy

import pytest

from common.algorithms import ServerState
from common.components import parse
from common.config import RunConfig
from common.errors import ConfigError
from common.hooks import ROUND_HOOKS, FinishedRound, GoBack, Keep, Stop

OPTIONS = {"target": ["", "fid=1"]}
CASES = [(name, f"{name} {options}") for name in ROUND_HOOKS for options in ("", *OPTIONS.get(name, ()))]


def finished(number, fids=(), rollbacks=0):
    """Returns a round after ``number`` of 5, scored with the last of ``fids``; earlier rounds have those before."""
    lines = [{"round": k, "scores": {"fid": fid}} for k, fid in enumerate(fids, start=number - len(fids) + 1)]
    client = {"partition": 0, "num-examples": 8, "generator-loss": 1.0, "discriminator-loss": 1.0, "drift": 1.0}
    line = {"round": number, "scores": {}, "seconds": {"train": 1.0}, "refused": []} | (lines[-1] if lines else {})
    return FinishedRound(
        state=ServerState(number, {}),
        line=line | {"clients": [client, client | {"partition": 1}]},
        earlier=lines[:-1],
        num_rounds=5,
        rollbacks=rollbacks,
        quality=fids[-1] if fids else None,
    )


@pytest.mark.parametrize(("name", "text"), CASES)
@pytest.mark.parametrize("fids", [(), (30.0,), (30.0, 20.0, 400.0)])
def test_every_hook_has_the_same_answer_to_the_same_round_and_says_why(name, text, fids):
    for number in range(max(1, len(fids)), 6):
        round, again = finished(number, fids), finished(number, fids)
        one, other = parse("hooks", ROUND_HOOKS, text), parse("hooks", ROUND_HOOKS, text)
        before = copy.deepcopy(list(round.earlier))
        answers = [one.after(round), one.after(again), other.after(copy.deepcopy(again))]
        assert answers[0] == answers[1] == answers[2]
        assert round.earlier == before
        answer = answers[0]
        assert isinstance(answer, Keep) or (answer.why and "\n" not in answer.why)
        assert one.may_stop or not isinstance(answer, Stop)
        assert one.may_go_back or not isinstance(answer, GoBack)


@pytest.mark.parametrize(("fid", "ends"), [(4.9, True), (5.0, True), (5.1, False), (None, False)])
def test_a_target_ends_the_run_where_fid_is_no_higher(fid, ends):
    answer = parse("hooks", ROUND_HOOKS, "target fid=5").after(finished(3, () if fid is None else (fid,)))
    assert isinstance(answer, Stop if ends else Keep)
    if ends:
        assert answer.why.startswith(f"fid {fid:.3g} is no higher than 5, the target")


def test_hooks_are_spelled_out_with_all_their_options_and_none_are_none():
    assert RunConfig().round_hooks == []
    assert RunConfig(hooks="target").hooks == "target fid=10.0"
    assert RunConfig(hooks="target fid=3|target").hooks == "target fid=3.0 | target fid=10.0"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hooks": "targt"}, "did you mean 'target'"),
        ({"hooks": "target | "}, "one of target"),
        ({"hooks": "target", "evaluation.every": 0}, "target looks at scores between rounds, and evaluation.every=0"),
        ({"hooks": "target", "algorithm": "effgan finetune=0.5"}, "hooks='target fid=10.0' may end the run before"),
    ],
)
def test_hooks_that_do_not_go_with_a_run_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        RunConfig().replaced(changes)


def test_a_hook_that_only_ends_runs_does_not_make_another_run():
    assert RunConfig(hooks="target").identity() == RunConfig().identity()
