"""Whole runs in this process, as a script would start them."""

import json
import tomllib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from common import tree
from common.config import RunConfig
from common.config_values import flatten
from common.errors import DivergenceError, FederationError, OtherRunError
from common.models.base import ADVERSARIAL
from server import checkpoint
from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from simulations.runtime.in_process import simulate

pytestmark = pytest.mark.usefixtures("no_reports")


def run(config, **options):
    simulate(config, **options)
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def state_of(directory):
    return checkpoint.latest(directory.checkpoints).snapshot


def size_of(picture):
    with Image.open(picture) as image:
        return image.size


def weights(directory):
    return tree.digest(state_of(directory).state.parameters)


def memories(directory):
    return {
        k: {name: tree.digest(kept) for name, kept in memory.items()}
        for k, memory in state_of(directory).clients.items()
    }


@pytest.mark.report
def test_a_run_leaves_a_whole_run_directory(small):
    directory = run(small(evaluation__every=1))
    lines = journal.read(directory.journal)
    assert [line["round"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert [client["partition"] for client in line["clients"]] == [0, 1, 2, 3]
        assert line["examples-seen"] == line["round"] * 4 * 2 * 8
        assert set(line["seconds"]) >= {"train", "aggregate", "evaluate"}
        assert line["bytes-up"] == line["bytes-down"] > 4 * 1000
        for client in line["clients"]:
            assert {"drift", "discriminator-loss", "generator-loss", "d-real", "d-fake", "seconds"} <= set(client)
            assert client["drift"] > 0
    for round in (0, 1, 3):
        assert size_of(directory.sample(round)) == (10 * 30 + 2, 10 * 30 + 2)
    assert len(json.loads(directory.partition.read_text())["clients"]) == 4
    assert size_of(directory.partition_picture)[0] > 300
    assert "score" in json.loads(directory.summary.read_text())["scores"]
    page = directory.report.read_text()
    assert page.count("<img") == 3  # samples
    assert page.count("<svg") == 4 + 1  # curves, partition
    assert "http" not in page  # self-contained


def test_the_written_configuration_gives_the_same_run(small, tmp_path):
    first = run(small())
    again = RunConfig.from_flat(flatten(tomllib.loads(first.config.read_text())) | {"output.dir": str(tmp_path / "b")})
    assert weights(run(again)) == weights(first)


@pytest.mark.parametrize("changes", [{}, {"federation.fraction": 0.5, "algorithm": "fedavg sync=generator"}])
def test_the_number_of_workers_changes_no_bit(small, changes):
    digests = {weights(run(small(f"w{n}", **changes), num_workers=n)) for n in (1, 2, 4)}
    assert len(digests) == 1


def test_another_seed_gives_other_weights(small):
    assert weights(run(small("a"))) != weights(run(small("b", seed=1)))


@pytest.mark.parametrize(
    "algorithm",
    ["fedavg", "fedavg sync=generator", "fedavg sync=discriminator", "fedavg ema-half-life=0", "fedavg ema-steps=true"],
)
def test_a_resumed_run_ends_with_the_same_bits(small, algorithm):
    settings = {"algorithm": algorithm, "federation.fraction": 0.5}
    through = run(small("through", **settings))
    run(small("parts", federation__num_rounds=1, **settings))
    parts = run(small("parts", output__resume=True, **settings))
    assert weights(parts) == weights(through)
    assert memories(parts) == memories(through)
    assert tree.digest(state_of(parts).state.average) == tree.digest(state_of(through).state.average)
    lines = [journal.read(directory.journal) for directory in (parts, through)]
    for one, two in zip(*lines, strict=True):
        assert not one["refused"]  # a client that paused goes on from what it kept then
        assert one["examples-seen"] == two["examples-seen"]
        assert [c["generator-loss"] for c in one["clients"]] == [c["generator-loss"] for c in two["clients"]]


@pytest.mark.parametrize("moments", ["keep", "reset"])
def test_moments_are_kept_or_reset_as_configured(small, moments):
    kept = memories(run(small(local__moments=moments)))
    assert all(("moments" in memory) == (moments == "keep") for memory in kept.values())


def test_an_interrupt_leaves_a_checkpoint_of_the_last_whole_round(small, monkeypatch):
    through = run(small("through"))
    calls = 0

    def interrupt(partition):
        nonlocal calls
        calls += 1
        if calls == 4 + 2:  # in the middle of round 2
            raise KeyboardInterrupt

    config = small("cut", output__checkpoint_every=100)
    with pytest.raises(KeyboardInterrupt):
        simulate(config, on_reply=interrupt)
    directory = RunDirectory(run_directory.resolve(config.output.dir).path)
    assert state_of(directory).state.round == 1
    assert len(journal.read(directory.journal)) == state_of(directory).state.round
    assert weights(run(small("cut", output__resume=True))) == weights(through)


@pytest.mark.report
def test_a_run_that_is_interrupted_in_its_first_round_has_a_picture_of_its_split(small):
    def interrupt(partition):
        assert not directory.partition_picture.exists()  # training does not wait for it
        raise KeyboardInterrupt

    directory = RunDirectory(run_directory.resolve((config := small()).output.dir).path)
    with pytest.raises(KeyboardInterrupt):
        simulate(config, on_reply=interrupt)
    assert size_of(directory.partition_picture)[0] > 300


def test_resuming_under_another_configuration_is_refused(small):
    run(small(federation__num_rounds=1))
    with pytest.raises(OtherRunError, match=r"local.steps was 2, is 3") as caught:
        simulate(small(output__resume=True, local__steps=3))
    assert caught.value.exit_code == 2


def test_a_torn_last_checkpoint_falls_back_to_the_one_before(small):
    through = run(small())
    last = checkpoint.list_checkpoints(through.checkpoints)[-1]
    whole = weights(through)
    last.write_bytes(last.read_bytes()[:100])
    assert weights(run(small(output__resume=True))) == whole


def test_resuming_without_a_checkpoint_begins_again_but_never_as_another_run(small, caplog):
    directory = run(small())
    whole = weights(directory)
    for path in checkpoint.list_checkpoints(directory.checkpoints):
        path.unlink()
    with pytest.raises(OtherRunError, match="seed was 0, is 9"):
        simulate(small(output__resume=True, seed=9))
    assert len(journal.read(directory.journal)) == 3
    assert weights(run(small(output__resume=True))) == whole
    assert "no checkpoint in" in caplog.text
    assert [line["round"] for line in journal.read(directory.journal)] == [1, 2, 3]


def test_an_interrupt_before_the_journal_line_loses_no_count(small, monkeypatch):
    from server.rounds.previews import DrawSamples

    draw = DrawSamples.draw
    monkeypatch.setattr(
        DrawSamples,
        "draw",
        lambda self, state: draw(self, state) if state.round == 0 else (_ for _ in ()).throw(KeyboardInterrupt),
    )
    with pytest.raises(KeyboardInterrupt):
        simulate(small())
    monkeypatch.undo()
    lines = journal.read(run(small(output__resume=True)).journal)
    assert [line["examples-seen"] for line in lines] == [64, 128, 192]


def test_weights_that_are_not_finite_are_refused_and_not_kept(small, monkeypatch):
    from client.trainer import Trainer

    fit, calls = Trainer.fit, iter(range(1000))

    def poisoned(self, **options):
        metrics = fit(self, **options)
        if next(calls) == 5:
            self._networks["discriminator"].logit.bias.data.fill_(float("nan"))
        return metrics

    monkeypatch.setattr(Trainer, "fit", poisoned)
    directory = run(small(algorithm="fedavg sync=generator"), num_workers=1)
    refused = [line["refused"] for line in journal.read(directory.journal)]
    assert [len(names) for names in refused] == [0, 1, 0]
    assert "discriminator.logit.bias is no longer finite after round 2 on partition 1" in refused[1][0]["reason"]


def failing(monkeypatch, fails, error=None):
    """Makes clients raise: ``fails(partition, round, attempt)``, attempts counted from 1."""
    from client.trainer import Trainer

    assign, attempts = Trainer.assign, Counter()

    def assigned(self, assignment, moments):
        key = (assignment.partition, assignment.round)
        attempts[key] += 1
        if fails(*key, attempts[key]):
            raise error or OSError("disk on fire")
        assign(self, assignment, moments)

    monkeypatch.setattr(Trainer, "assign", assigned)


@pytest.mark.parametrize("error", [OSError("disk on fire"), MemoryError("no room for 9 GB")])
def test_clients_that_fail_are_left_out_and_named(small, monkeypatch, error):
    failing(monkeypatch, lambda partition, number, attempt: (partition, number) == (1, 2), error)
    directory = run(small())
    refused = [line["refused"] for line in journal.read(directory.journal)]
    assert refused == [[], [{"partition": 1, "reason": f"{type(error).__name__}: {error}"}], []]
    assert len(journal.read(directory.journal)[1]["clients"]) == 3


def test_below_the_minimum_of_replies_the_run_stops_with_a_checkpoint(small, monkeypatch, happened):
    failing(monkeypatch, lambda partition, number, attempt: number == 2 and partition > 0)
    config = small(output__checkpoint_every=100, federation__min_replies=2, federation__round_retries=1)
    with pytest.raises(
        FederationError, match=r"round 2: 1 usable replies of 4, the minimum is 2: partition 1: OSError.*tried 2 times"
    ):
        simulate(config, num_workers=1)
    directory = RunDirectory(run_directory.resolve(config.output.dir).path)
    assert state_of(directory).state.round == 1
    repeated, stopped = happened(directory)
    assert (repeated["event"], repeated["round"], stopped["event"]) == ("round-repeated", 2, "stopped")
    assert [refused["partition"] for refused in repeated["refused"]] == [1, 2, 3]


@pytest.mark.parametrize("settings", [{}, {"algorithm": "fedavg sync=generator", "local.moments": "keep"}])
def test_a_repeated_round_ends_with_the_same_bits(small, monkeypatch, settings, happened):
    through = run(small("through", **settings))
    failing(monkeypatch, lambda partition, number, attempt: number == 2 and partition > 0 and attempt < 3)
    repeated = run(small("repeated", **settings))
    assert [event["event"] for event in happened(repeated)] == ["round-repeated"] * 2
    assert weights(repeated) == weights(through)
    assert memories(repeated) == memories(through)
    assert [line["refused"] for line in journal.read(repeated.journal)] == [[], [], []]


def test_a_refused_client_goes_on_from_what_it_kept_before(small, monkeypatch):
    from common import wire

    encode = wire.encode_reply

    def wild(reply, round, memory_round=0):
        if (reply.partition, round) == (1, 2):
            reply = replace(reply, arrays={key: value * 1e6 for key, value in reply.arrays.items()})
        return encode(reply, round, memory_round)

    settings = {"local.moments": "keep"}
    monkeypatch.setattr(wire, "encode_reply", wild)
    directory = run(small("one", **settings))
    (refused,) = journal.read(directory.journal)[1]["refused"]
    assert refused["partition"] == 1
    assert "the norm of its update is" in refused["reason"]
    assert state_of(directory).memory_rounds == {0: 3, 1: 3, 2: 3, 3: 3}
    run(small("two", **settings, federation__num_rounds=2))
    partial = RunDirectory(run_directory.resolve(small("two").output.dir).path)
    assert state_of(partial).memory_rounds == {0: 2, 1: 1, 2: 2, 3: 2}
    assert weights(run(small("two", **settings, output__resume=True))) == weights(directory)


@pytest.mark.parametrize("moments", ["keep", "reset"])
def test_a_client_that_lost_its_memory_is_left_out_once_and_begins_anew(small, monkeypatch, moments):
    from client.state import ContextMemories

    forgotten = []

    class Forgetful(ContextMemories):
        def load(self, number):
            if number == 1 and not forgotten:
                forgotten.append(number)
                return None
            return super().load(number)

    monkeypatch.setattr("client.state.ContextMemories", Forgetful)  # the client's, not those of the grid
    directory = run(small(local__moments=moments), num_workers=1)
    reasons = [[refused["reason"] for refused in line["refused"]] for line in journal.read(directory.journal)]
    lost = ["it has lost what it kept after round 1, and begins anew: give the site a state-path"]
    assert reasons == [[], lost if moments == "keep" else [], []]  # without a memory there is nothing to lose
    assert forgotten
    assert state_of(directory).memory_rounds == {0: 3, 1: 3, 2: 3, 3: 3}


def scoring(monkeypatch, wrong):
    """Makes a federation's fid fall by one a round from 100, but for what ``wrong(round, rollbacks)`` returns."""
    from server.evaluation.scoring import Scoring
    from server.rounds.scores import ScoreRound

    after, at_hand = ScoreRound.after, {}

    def watched(self, round):
        at_hand["round"] = round
        return after(self, round)

    def scores(self, weights):
        round = at_hand["round"]
        fid = wrong(round.number, round.rollbacks)
        if fid == "broken":
            raise DivergenceError("the generator's images are not finite")
        return {"fid": float(fid or 100 - round.number)}

    monkeypatch.setattr(ScoreRound, "after", watched)
    monkeypatch.setattr(Scoring, "quick", scores)
    monkeypatch.setattr(Scoring, "final", scores)


GUARDED = {"evaluation.every": 2, "federation.num-rounds": 7, "local.moments": "keep"}


@pytest.mark.slow
@pytest.mark.parametrize("bad", [600, "broken"])
def test_a_run_whose_generator_diverges_goes_back_and_tries_other_numbers(small, monkeypatch, bad, happened):
    scoring(monkeypatch, lambda number, rollbacks: 0)
    through = run(small("through", **GUARDED))
    scoring(monkeypatch, lambda number, rollbacks: bad if number == 6 and rollbacks == 0 else 0)
    back = run(small("back", **GUARDED))
    (event,) = happened(back)
    assert (event["event"], event["round"]) == ("rollback", 4)
    assert ("fid 600 is more than guard.ratio=5 times the best" if bad == 600 else "not finite") in event["reason"]
    assert [line["round"] for line in journal.read(back.journal)] == list(range(1, 8))
    assert json.loads(back.summary.read_text())["rollbacks"] == 1
    assert weights(back) != weights(through)
    assert weights(run(small("again", **GUARDED))) == weights(back)
    one, two = (
        [c["generator-loss"] for line in journal.read(d.journal)[:4] for c in line["clients"]] for d in (back, through)
    )
    assert one == two  # up to the good round nothing is another


@pytest.mark.slow
@pytest.mark.parametrize("cut", [5, 7])
def test_a_run_that_has_gone_back_is_resumed_to_the_same_bits(small, monkeypatch, cut):
    scoring(monkeypatch, lambda number, rollbacks: 600 if number == 6 and rollbacks == 0 else 0)
    through = run(small("through", **GUARDED))
    assigned = 0

    def interrupt(partition):
        nonlocal assigned
        assigned += 1
        if assigned == cut * 4 + 2:  # in round 6 before it goes back, in round 6 after it has gone back
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(small("cut", **GUARDED), on_reply=interrupt)
    assert weights(run(small("cut", output__resume=True, **GUARDED))) == weights(through)


def test_a_run_goes_back_only_as_often_as_it_may(small, monkeypatch, caplog, happened):
    scoring(monkeypatch, lambda number, rollbacks: 600 if number == 6 else 0)
    directory = run(small("off", **GUARDED, guard__rollbacks=1))
    assert [event["event"] for event in happened(directory)] == ["rollback", "diverged"]
    assert "gone back as often as guard.rollbacks allows" in caplog.text
    assert json.loads(directory.summary.read_text())["best"] == {"round": 7, "fid": 93.0}
    scoring(monkeypatch, lambda number, rollbacks: "broken" if number == 6 else 0)
    with pytest.raises(DivergenceError, match="not finite"):
        run(small("nan", **GUARDED, guard__rollbacks=1))
    stopped = RunDirectory(run_directory.resolve(small("nan").output.dir).path)
    assert state_of(stopped).state.round == 4  # not the broken one
    assert [event["event"] for event in happened(stopped)] == ["rollback", "stopped"]


def test_a_round_that_was_interrupted_before_its_score_is_done_again(small, monkeypatch, happened):
    scoring(monkeypatch, lambda number, rollbacks: 600 if number == 6 and rollbacks == 0 else 0)
    through = run(small("through", **GUARDED))
    from server.rounds.scores import ScoreRound

    scores, calls = ScoreRound.after, iter(range(1000))

    def interrupted(self, round):
        if round.number == 6 and next(calls) == 0:
            raise KeyboardInterrupt
        return scores(self, round)

    monkeypatch.setattr(ScoreRound, "after", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate(small("cut", **GUARDED))
    assert state_of(RunDirectory(run_directory.resolve(small("cut").output.dir).path)).state.round == 5
    cut = run(small("cut", output__resume=True, **GUARDED))
    assert weights(cut) == weights(through)
    assert [event["event"] for event in happened(cut)] == ["stopped", "resumed", "rollback"]


def test_pictures_that_are_not_finite_make_a_run_go_back_too(small, monkeypatch, happened):
    from server.rounds.previews import DrawSamples

    scoring(monkeypatch, lambda number, rollbacks: 0)
    draw, calls = DrawSamples.draw, []

    def broken(self, state):
        calls.append(state.round)
        if calls.count(5) == 1 and state.round == 5:
            raise DivergenceError("the generator's images are not finite")
        draw(self, state)

    monkeypatch.setattr(DrawSamples, "draw", broken)
    directory = run(small(**GUARDED))
    (event,) = happened(directory)
    assert (event["event"], event["round"]) == ("rollback", 4)


def test_the_best_round_is_kept_besides_the_last(small, monkeypatch):
    scoring(monkeypatch, lambda number, rollbacks: 10 if number == 2 else 0)
    changes = GUARDED | {"guard.ratio": 0.0}
    directory = run(small(**changes, output__keep_checkpoints=2))
    assert [checkpoint.round_of(path) for path in checkpoint.list_checkpoints(directory.checkpoints)] == [2, 6, 7]


@pytest.mark.parametrize("conditional", ["true", "false"])
def test_images_without_labels_train_and_are_shown_whether_labels_are_requested_or_not(small, tmp_path, conditional):
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "scans.npz", images=generator.integers(0, 256, (60, 28, 28), dtype=np.uint8))
    source = {"data.name": "npz", "data.root": str(tmp_path / "scans.npz"), "partition": "iid"}
    model = f"dcgan width=4 latent-size=4 conditional={conditional}"
    directory = run(small(**source, model=model, federation__num_rounds=1, local__fake_labels="uniform"))
    summary = json.loads(directory.summary.read_text())
    assert summary["rounds"] == 1
    assert summary["examples-seen"] == 4 * 2 * 8
    assert state_of(directory).state.published(ADVERSARIAL)
    assert size_of(directory.sample(1)) == (302, 302)


STALLING = {"evaluation.every": 1, "federation.num-rounds": 6, "local.moments": "keep", "federation.patience": 2}


@pytest.mark.report
def test_a_run_ends_early_when_it_gets_no_better_and_keeps_its_best_round(small, monkeypatch, happened):
    scoring(monkeypatch, lambda number, rollbacks: 40 if number == 2 else 60)
    directory = run(small(**STALLING, output__keep_checkpoints=1, output__sample_every=6))
    assert [line["round"] for line in journal.read(directory.journal)] == list(range(1, 5))
    (event,) = happened(directory)
    assert (event["event"], event["round"]) == ("early-stop", 4)
    assert "that of round 2, in 2 scored rounds (federation.patience=2)" in event["reason"]
    summary = json.loads(directory.summary.read_text())
    assert summary["rounds"] == 4
    assert summary["best"]["round"] == 2
    assert directory.report.exists()
    assert directory.sample(4).exists()
    assert {2, 4} == {checkpoint.round_of(path) for path in checkpoint.list_checkpoints(directory.checkpoints)}


def test_a_run_that_ended_early_ends_at_once_when_it_is_resumed_unless_it_has_more_patience(
    small, monkeypatch, happened
):
    scoring(monkeypatch, lambda number, rollbacks: 40 if number == 2 else 60)
    first = weights(run(small(**STALLING)))
    again = run(small(**STALLING, output__resume=True))
    assert weights(again) == first
    assert [event["event"] for event in happened(again)] == ["early-stop"]
    more = run(small(**STALLING | {"federation.patience": 3}, output__resume=True))
    assert journal.read(more.journal)[-1]["round"] == 5
    through = run(small("through", **STALLING | {"federation.patience": 0}))
    assert journal.read(through.journal)[-1]["round"] == 6
    assert happened(through) == []
    assert weights(run(small(**STALLING | {"federation.patience": 0}, output__resume=True))) == weights(through)


def test_a_client_with_other_code_is_refused_in_words(small, monkeypatch):
    from common.errors import ProtocolError
    from server.clients import roll_call

    monkeypatch.setattr(roll_call.wire, "source_fingerprint", iter(["old"] + ["new"] * 99).__next__)
    with pytest.raises(ProtocolError, match=r"runs other code \(fingerprint .*\) than this server"):
        simulate(small(), num_workers=1)


@pytest.mark.report
def test_a_run_without_a_shared_generator_says_so(small, caplog):
    caplog.set_level("INFO", logger="fedgan.server")
    directory = run(small(algorithm="fedavg sync=discriminator"))
    assert "no samples and no scores" in caplog.text
    assert not list(directory.samples.iterdir())
    assert json.loads(directory.summary.read_text())["scores"] == {}
    assert "no scores" in directory.report.read_text()


def test_weights_that_are_no_longer_finite_are_not_kept(small):
    config = small(algorithm="fedopt lr=1e50", federation__round_retries=0)
    with pytest.raises(FederationError, match=r"round 1: \S+ is no longer finite; the old weights stay"):
        simulate(config)
    assert checkpoint.list_checkpoints(run_directory.resolve(config.output.dir).checkpoints) == []
