"""Whole runs whose server learns the sum of a round's updates alone."""

import json
import re

import numpy as np
import pytest

from client import app, masking
from common import tree
from common.config import RunConfig
from common.errors import FederationError
from common.secure_sum import collector, member
from server import checkpoint
from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from simulations.commands import main
from simulations.runtime.in_process import simulate

pytestmark = pytest.mark.usefixtures("no_reports")

SECURE = {"aggregate": "secure-mean threshold=3"}
"""Of four clients."""


def run(config, **options):
    simulate(config, **options)
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def state_of(directory):
    return checkpoint.latest(directory.checkpoints).snapshot.state


def weights(directory):
    state = state_of(directory)
    return tree.digest(state.parameters) + tree.digest(state.average)


def lines(directory):
    return journal.read(directory.journal)


@pytest.fixture
def fails(monkeypatch):
    """Has clients fail: ``fails(step, {(partition, round), ...})``, each once, in a step or in ``training``."""
    left = set()
    answer, train = masking.answer, masking.masked
    names = {"KeysRequest": "keys", "SharesRequest": "shares", "UnmaskRequest": "unmask"}

    def fail(step, partition, round):
        if (step, partition, round) in left:
            left.discard((step, partition, round))
            raise OSError(f"the line is dead in {step}")

    def answered(request, config, keeper, keys, partition):
        kept = keeper.get("member")
        round = request.session.round if kept is None or hasattr(request.session, "round") else None
        round = member.Member.read(kept).session.round if round is None else round
        fail(names[type(request).__name__], partition, round)
        return answer(request, config, keeper, keys, partition)

    def masked(reply, received, one, *rest):
        fail("training", reply.partition, one.session.round)
        return train(reply, received, one, *rest)

    monkeypatch.setattr(app.masking, "answer", answered)
    monkeypatch.setattr(app.masking, "masked", masked)
    return lambda step, who: left.update((step, k, round) for k, round in who)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weighting": "uniform", "algorithm": "fedopt optimizer=adam"},
        {"algorithm": "fedprox sync=generator ema-steps=true", "transforms": "clip norm=0.5"},
    ],
)
def test_masks_and_workers_change_no_bit_and_the_mean_is_that_of_mean(small, monkeypatch, changes):
    masked = run(small("masked", **SECURE, **changes), num_workers=1)
    two = run(small("two", **SECURE, **changes), num_workers=2)
    plain = run(small("plain", **changes, aggregate="mean class-rows=all", admission__max_norm_ratio=0.0))
    for module in (member, collector):
        monkeypatch.setattr(module, "add_stream", lambda *args, **options: None)
    bare = run(small("bare", **SECURE, **changes))
    assert weights(masked) == weights(two) == weights(bare)
    one, other = (state_of(directory).parameters for directory in (masked, plain))
    length = tree.distance(other, {key: 0 * value for key, value in other.items()})
    assert tree.distance(one, other) < 1e-6 * length  # 45 binary digits round like the float64 of mean, all but always


def test_the_server_sees_no_update_and_the_journal_says_what_masks_took(small, monkeypatch):
    seen = []
    check = app.wire.encode_reply

    def watched(reply, *rest):
        seen.append(reply.arrays)
        return check(reply, *rest)

    monkeypatch.setattr(app.wire, "encode_reply", watched)
    directory = run(small("run", **SECURE))
    assert all(set(arrays) == {"masked"} for arrays in seen)
    numbers = np.concatenate([arrays["masked"].numpy() for arrays in seen]).view(np.uint8)
    counts = np.bincount(numbers, minlength=256)
    expected = counts.sum() / 256
    assert 160 < ((counts - expected) ** 2 / expected).sum() < 370  # of fresh keys each time: all but one in a million
    for line in lines(directory):
        assert not any("drift" in client for client in line["clients"])
        assert line["masks"]["dropped"] == {}
        assert line["masks"]["bytes-up"] > 1000
        assert line["masks"]["seconds"] == line["seconds"]["masks"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("step", ["keys", "shares", "training", "unmask"])
def test_a_client_that_is_lost_in_any_step_is_named_and_the_others_mean_is_exact(small, fails, monkeypatch, step):
    fails(step, {(2, 2)})
    directory = run(small("run", **SECURE))
    first, second, third = lines(directory)
    assert [client["partition"] for client in second["clients"]] == ([0, 1, 2, 3] if step == "unmask" else [0, 1, 3])
    assert [len(line["clients"]) for line in (first, third)] == [4, 4]
    named = "masked" if step == "training" else step
    [row] = second["masks"]["dropped"][named]
    assert row["partition"] == 2
    assert f"the line is dead in {step}" in row["reason"]
    assert [one["partition"] for one in second["refused"]] == ([] if step == "unmask" else [2])
    for module in (member, collector):
        monkeypatch.setattr(module, "add_stream", lambda *args, **options: None)
    fails(step, {(2, 2)})
    assert weights(run(small("bare", **SECURE))) == weights(directory)


@pytest.mark.slow
def test_a_round_below_the_threshold_says_why_and_is_repeated_with_the_same_bits(small, fails, happened):
    through = run(small("through", **SECURE))
    fails("training", {(1, 2), (2, 2)})
    repeated = run(small("repeated", **SECURE))
    [event] = happened(repeated)
    assert event["event"] == "round-repeated"
    assert "2 usable replies of 4, the minimum is 3" in event["reason"]
    assert weights(repeated) == weights(through)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            "keys",
            "2 clients have taken the step of keys of secure aggregation, and nothing is revealed below threshold=3",
        ),
        ("shares", "2 clients have taken the step of shares"),
        ("unmask", "2 clients have handed out shares, and it takes 3 to unmask the sum; .*the line is dead in unmask"),
    ],
)
def test_too_few_in_any_other_step_fails_the_round_likewise(small, fails, happened, step, expected):
    through = run(small("through", **SECURE))
    fails(step, {(0, 1), (3, 1)})
    repeated = run(small("repeated", **SECURE))
    [event] = happened(repeated)
    assert event["event"] == "round-repeated"
    assert re.search(expected, event["reason"])
    assert weights(repeated) == weights(through)


def test_a_run_that_never_has_enough_ends_with_the_reason(small, fails, monkeypatch):
    def never(*args):
        raise OSError("gone for good")

    monkeypatch.setattr(app.masking, "masked", never)
    with pytest.raises(FederationError, match="0 usable replies of 4, the minimum is 3.*gone for good"):
        simulate(small("run", federation__round_retries=1, **SECURE))


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(small):
    through = run(small("through", **SECURE))
    cut = small("parts", **SECURE)
    done = []

    def interrupt(partition):
        done.append(partition)
        if len(done) == cut.federation.cohort_size + 1:  # in round 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(cut, on_reply=interrupt)
    assert weights(run(small("parts", output__resume=True, **SECURE))) == weights(through)


@pytest.mark.slow
def test_sites_with_a_state_path_are_known_by_their_key_when_a_run_goes_on(small, tmp_path, monkeypatch):
    config = app.Site.of
    monkeypatch.setattr(
        app.Site, "of", lambda node: config({**node, "state-path": str(tmp_path / f"site-{node['partition-id']}")})
    )
    directory = run(small("run", **SECURE, federation__num_rounds=1))
    kept = json.loads(directory.site_keys.read_text())
    assert sorted(kept) == ["0", "1", "2", "3"]
    run(small("run", **SECURE, output__resume=True))
    (tmp_path / "site-2" / "keys" / "partition-2.key").unlink()
    with pytest.raises(FederationError, match=r"partition 2\) has another key than when the run began|partition 2 has"):
        run(small("run", **SECURE, output__resume=True, federation__num_rounds=4))


def test_the_command_goes_on_with_a_client_that_fails_in_the_middle(small, fails, monkeypatch, capsys):
    fails("training", {(1, 2)})
    config = small("command", aggregate="secure-mean threshold=3", federation__num_rounds=2)
    settings = " ".join(
        f"{key}={json.dumps(value)}" for key, value in config.flat().items() if value != RunConfig().flat()[key]
    )
    monkeypatch.setattr("sys.argv", ["fedgan", "simulate", "--engine", "threads", "-c", settings])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 0
    first, second = lines(RunDirectory(run_directory.resolve(config.output.dir).path))
    assert [len(line["clients"]) for line in (first, second)] == [4, 3]
    assert second["masks"]["dropped"]["masked"][0]["partition"] == 1
    said = capsys.readouterr()
    assert "partition 1" in said.err + said.out
    assert "the line is dead in training" in said.err + said.out
