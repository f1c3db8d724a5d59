import json
import math
import types
from dataclasses import replace

import pytest
import torch

from common import files, tree
from common.algorithms import Client, Reply, ServerState
from common.algorithms.fedavg import FedAvg
from common.config_sections import FederationConfig
from common.errors import CheckpointError, ConfigError, FederationError, ProtocolError
from common.examples import ImageSpec
from common.wire import RollCall
from server import checkpoint
from server.checkpoint import Checkpoint
from server.clients import admission
from server.clients.roster import Roster, form_roster, reason_of
from server.records import journal, model_selection, run_directory
from server.rounds.base import Snapshot
from tests.unit.common.algorithms.training import make_context

TEMPLATE = {"generator.w": torch.zeros(2, 3), "generator.n": torch.tensor(4)}


def answer(partition=0, num_examples=40):
    return RollCall(partition, 4, num_examples, (num_examples,), ImageSpec(1, 28, 1), ("all",), "d", "f")


def roster(num=10):
    return Roster({k: answer(k) for k in range(num)})


class TestAdmission:
    def check(self, arrays, partition=0, num_examples=40):
        admission.check(Reply(partition, num_examples, arrays), answer(), TEMPLATE)

    def test_a_sound_reply_passes_and_is_left_as_it_is(self):
        arrays = {"generator.w": torch.ones(2, 3), "generator.n": torch.tensor(9)}
        before = tree.digest(arrays)
        self.check(arrays)
        assert tree.digest(arrays) == before

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"generator.w": torch.full((2, 3), math.nan)}, "generator.w has values that are not finite"),
            ({"generator.w": torch.full((2, 3), math.inf)}, "generator.w has values that are not finite"),
            ({"generator.w": torch.ones(1)}, r"generator.w is torch.float32\(1,\), not torch.float32\(2, 3\)"),
            ({"generator.w": torch.ones(2, 3, dtype=torch.int64)}, "generator.w is torch.int64"),
            ({"generator.w": torch.ones(2, 3).double()}, "generator.w is torch.float64"),
            ({"extra": torch.ones(1)}, r"unexpected: \['extra'\]"),
        ],
    )
    def test_an_unsound_array_is_refused_by_name(self, arrays, words):
        with pytest.raises(ProtocolError, match=words):
            self.check(TEMPLATE | arrays)

    def test_a_missing_array_is_refused_by_name(self):
        with pytest.raises(ProtocolError, match=r"missing: \['generator.n'\]"):
            self.check({"generator.w": torch.ones(2, 3)})

    @pytest.mark.parametrize("num_examples", [-1, 0, 39, 41, 10**12])
    def test_a_weight_other_than_announced_is_refused(self, num_examples):
        with pytest.raises(ProtocolError, match=f"num-examples is {num_examples}, the roll call said 40"):
            self.check(TEMPLATE, num_examples=num_examples)

    def test_a_reply_in_anothers_name_is_refused(self):
        with pytest.raises(ProtocolError, match="says partition 3, its node holds 0"):
            self.check(TEMPLATE, partition=3)

    def test_an_update_far_longer_than_the_others_is_refused(self):
        def replies(*lengths):
            return {k: Reply(k, 40, {"generator.w": torch.full((2, 3), float(n))}) for k, n in enumerate(lengths)}

        def refused(*lengths, ratio=10.0):
            origins = {k: [{"generator.w": torch.zeros(2, 3)}] for k in range(len(lengths))}
            return admission.outliers(replies(*lengths), origins, ["generator.w"], ratio)

        assert refused(1, 2, 3, -19.9, 1.5) == refused(0, 0, 0) == {}
        assert set(refused(1, 2, 3, -20.1, 1.5)) == {3}
        assert "norm of its update is 49.2, more than admission.max-norm-ratio=10" in refused(1, 2, 3, -20.1, 1.5)[3]
        assert refused(1, 2, 3, -20.1, 1.5, ratio=0) == {}
        assert refused(1, 1000) == {}  # of two, nobody can say which is wrong
        assert set(refused(0, 0, 1)) == {2}

    def test_norms_are_of_updates_not_of_weights(self):
        near = {k: Reply(k, 40, {"w": torch.full((4,), 100.0 + 0.01 * k)}) for k in range(1, 4)}
        far = {9: Reply(9, 40, {"w": torch.full((4,), 101.0)})}
        shared, own = {"w": torch.full((4,), 100.0)}, {"w": torch.full((4,), 101.01)}
        origins = {k: [shared] for k in near | far}
        assert set(admission.outliers(near | far, origins, ["w"], 10.0)) == {9}
        assert admission.outliers(near | far, {**origins, 9: [shared, own]}, ["w"], 10.0) == {}

    def test_a_refusal_names_a_few_of_many_names(self):
        with pytest.raises(ProtocolError) as caught:
            self.check(TEMPLATE | {f"{'x' * 1000}{k}": torch.ones(1) for k in range(1000)})
        assert "and 995 more" in str(caught.value)
        assert len(str(caught.value)) < 1000


class TestRoster:
    def test_answers_in_any_order_form_one_roster(self):
        answers = {k: answer(k) for k in (2, 0, 1)}
        assert list(form_roster(answers, 3).clients) == [0, 1, 2]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                {"spec": ImageSpec(3, 32, 1)},
                r"partition 1 has 32x32 images with 3 .*, expected 28x28 images with 1 ch",
            ),
            ({"class_names": ("scan",)}, "partition 1 has the classes scan, expected all"),
            ({"num_examples": 0, "label_counts": (0,)}, "partition 1 has 0 examples, expected at least 1"),
            ({"num_examples": 41}, r"partition 1 has 41 examples, but label counts \[40\]"),
            ({"label_counts": (20, 20)}, r"partition 1 has 40 examples, but label counts \[20, 20\]"),
        ],
    )
    def test_a_site_that_does_not_fit_is_refused_by_name(self, change, words):
        answers = {k: answer(k) for k in range(3)}
        answers[1] = replace(answers[1], **change)
        with pytest.raises(FederationError, match=words) as caught:
            form_roster(answers, 3)
        assert "partition 0" not in str(caught.value)

    def test_label_counts_below_zero_are_refused_even_if_they_add_up(self):
        two = ImageSpec(1, 28, 2)
        answers = {k: replace(answer(k), spec=two, class_names=("a", "b"), label_counts=(40, 0)) for k in range(3)}
        answers[1] = replace(answers[1], label_counts=(-5, 45))
        with pytest.raises(FederationError, match=r"partition 1 has 40 examples, but label counts \[-5, 45\]"):
            form_roster(answers, 3)

    def test_a_site_may_keep_its_label_counts(self):
        answers = {k: replace(answer(k), label_counts=None if k == 1 else (40,)) for k in range(3)}
        clients = form_roster(answers, 3).summary()["clients"]
        assert [client["label-counts"] for client in clients] == [[40], None, [40]]


class TestGuard:
    def lines(self, *fids):
        return [{"round": k, "scores": {} if fid is None else {"fid": fid}} for k, fid in enumerate(fids, start=1)]

    def test_the_best_round_has_the_lowest_fid(self):
        assert model_selection.best(self.lines(900, None, 20, 30, 20))["round"] == 3
        assert model_selection.best(self.lines(None, None)) is None

    def test_a_run_has_stalled_after_as_many_scored_rounds_without_a_better_one_as_it_has_patience_for(self):
        lines = self.lines(50, None, 20, None, 30, None, 20, None)  # the best is round 3, two scored ones follow
        assert model_selection.stalled(lines, 3) is None
        assert model_selection.stalled(lines, 2) == (
            "fid has not fallen below 20, that of round 3, in 2 scored rounds (federation.patience=2)"
        )
        assert model_selection.stalled(lines[:6], 1) is not None
        assert model_selection.stalled(lines[:4], 1) is None
        assert model_selection.stalled(self.lines(None, None), 1) is None
        assert model_selection.stalled([], 1) is None

    def test_where_the_server_has_no_images_rounds_go_by_the_federated_fid(self):
        lines = [{"round": k, "scores": {"federated-fid": fid}} for k, fid in enumerate((90.0, 20.0, 101.0), start=1)]
        assert model_selection.best(lines)["round"] == model_selection.last_good(lines, 5) == 2
        assert model_selection.quality({"federated-fid": 9.0, "fid": 8.0}) == 8.0
        assert model_selection.quality({"score": 9.0}) is None

    def test_a_fid_far_above_the_best_is_a_fault(self):
        lines = self.lines(900, 20, 30)
        assert model_selection.fault({"fid": 100}, lines, 5) is None
        assert (
            model_selection.fault({"fid": 100.1}, lines, 5)
            == "fid 100 is more than guard.ratio=5 times the best, 20 of round 2"
        )
        assert model_selection.fault({"fid": 1e9}, lines, 0) is model_selection.fault({"fid": 1e9}, [], 5) is None

    def test_bits_are_compared_by_their_perplexity(self):
        lines = [{"round": k, "scores": {"bits-per-character": it}} for k, it in ((1, 3.0), (2, 2.0), (3, 4.4))]
        assert model_selection.fault({"bits-per-character": 4.0}, lines, 4) is None  # a perplexity of 4 times 4
        assert model_selection.fault({"bits-per-character": 4.01}, lines, 4) == (
            "bits-per-character 4.01 is more than 2 (the logarithm of guard.ratio=4 to base 2) above the best, 2 of "
            "round 2"
        )
        assert model_selection.last_good(lines, 4) == 2
        assert model_selection.last_good(lines, 6) == 3
        assert model_selection.fault({"federated-bits-per-character": 9.0}, [], 4) is None

    def test_the_last_good_round_is_the_last_scored_one_without_a_fault(self):
        lines = self.lines(900, None, 20, None, 101, None)
        assert model_selection.last_good(lines, 5) == 3
        assert model_selection.last_good(lines, 0) == 5
        assert model_selection.last_good(self.lines(None), 5) == 0


class TestCohort:
    @staticmethod
    def cohort(size, seed, round):
        context = make_context(seed=seed, clients={k: Client(1) for k in range(10)})
        return FedAvg().cohort(size, round, context)

    def test_everyone_takes_part_at_fraction_one(self):
        assert self.cohort(10, seed=0, round=1) == list(range(10))

    @pytest.mark.parametrize(("fraction", "size"), [(0.5, 5), (0.25, 3), (0.01, 1), (0.95, 10)])
    def test_a_fraction_takes_that_many_distinct_clients(self, fraction, size):
        cohort = self.cohort(FederationConfig(fraction=fraction).cohort_size, seed=0, round=1)
        assert len(set(cohort)) == len(cohort) == size
        assert cohort == sorted(cohort)

    def test_the_sample_depends_on_seed_and_round_alone(self):
        assert self.cohort(3, 0, 1) == self.cohort(3, 0, 1)
        assert len({tuple(self.cohort(3, s, r)) for s in range(3) for r in range(4)}) > 6

    def test_over_many_rounds_everyone_takes_part_equally(self):
        rounds = [self.cohort(3, 0, r) for r in range(400)]
        for k in range(10):
            assert sum(k in cohort for cohort in rounds) == pytest.approx(120, abs=35)


@pytest.mark.parametrize(
    "reason",
    [
        "<class 'common.errors.DataError'>:<'no images in /srv'>",
        "Traceback (most recent call last):\n  File 'x'\ncommon.errors.DataError: no images in /srv\n",
        "<class 'flwr.X'>:<'Traceback (most recent call last):\n  File\ncommon.errors.DataError: no images in /srv'>",
    ],
)
def test_a_clients_reason_is_one_line_in_every_runtime(reason, monkeypatch):
    reply = types.SimpleNamespace(error=types.SimpleNamespace(reason=reason, code=2))
    assert reason_of(reply) == "DataError: no images in /srv"


def test_a_clients_error_without_a_reason_has_its_code():
    assert reason_of(types.SimpleNamespace(error=types.SimpleNamespace(reason=None, code=99))) == "error code 99"
    assert "process died" in reason_of(types.SimpleNamespace(error=types.SimpleNamespace(reason="", code=8)))


class TestCheckpoint:
    def content(self, round=3):
        generator = torch.Generator().manual_seed(round)
        parameters = {"generator.w": torch.randn(4, 5, generator=generator), "discriminator.n": torch.tensor(round)}
        state = ServerState(
            round,
            parameters,
            average={"generator.w": torch.randn(4, 5, generator=generator)},
            slots={"momentum": {"generator.w": torch.ones(4, 5)}},
        )
        clients = {12: {"moments": {"generator.w.step": torch.tensor(7.0)}, "personal": {"d/w": torch.ones(2)}}}
        snapshot = Snapshot(state, clients, 12345, {12: 3, 4: 2}, rollbacks=1, run="beef")
        return Checkpoint(snapshot, {"seed": 1}, {"clients": [{"partition": 12}]})

    def test_what_is_read_is_what_was_written(self, tmp_path):
        written = self.content()
        read = checkpoint.load_checkpoint(checkpoint.save_checkpoint(tmp_path, written, keep=3))
        assert read.snapshot.state.round == 3
        for name in ("parameters", "average"):
            one, two = (getattr(c.snapshot.state, name) for c in (written, read))
            assert tree.digest(one) == tree.digest(two)
        assert tree.digest(read.snapshot.state.slots["momentum"]) == tree.digest({"generator.w": torch.ones(4, 5)})
        assert set(read.snapshot.clients) == {12}
        for name, kept in written.snapshot.clients[12].items():
            assert tree.digest(read.snapshot.clients[12][name]) == tree.digest(kept)
        assert (read.config, read.roster) == (written.config, written.roster)
        for field in ("examples_seen", "memory_rounds", "rollbacks", "run"):
            assert getattr(read.snapshot, field) == getattr(written.snapshot, field)

    def test_only_the_last_are_kept_and_no_scrap_is_left(self, tmp_path):
        for round in (8, 9, 10, 11):
            checkpoint.save_checkpoint(tmp_path, self.content(round), keep=2)
        assert [p.name for p in sorted(tmp_path.iterdir())] == ["round-0010.safetensors", "round-0011.safetensors"]

    def test_protected_rounds_are_kept(self, tmp_path):
        for round in range(1, 7):
            checkpoint.save_checkpoint(tmp_path, self.content(round), keep=2, protected={2, 3, 99})
        assert [checkpoint.round_of(path) for path in checkpoint.list_checkpoints(tmp_path)] == [2, 3, 5, 6]

    @pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
    def test_a_damaged_file_is_refused_by_name_and_the_one_before_taken(self, tmp_path, damage, caplog):
        checkpoint.save_checkpoint(tmp_path, self.content(3), keep=3)
        path = checkpoint.save_checkpoint(tmp_path, self.content(4), keep=3)
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[-3] ^= 1
        path.write_bytes({"truncated": whole[:-7], "flipped": flipped, "empty": b"", "foreign": b"hello" * 9}[damage])
        with pytest.raises(CheckpointError, match="round-0004"):
            checkpoint.load_checkpoint(path)
        assert checkpoint.latest(tmp_path).snapshot.state.round == 3
        assert "round-0004" in caplog.text
        (tmp_path / "round-0003.safetensors").unlink()
        with pytest.raises(CheckpointError, match="no whole checkpoint"):
            checkpoint.latest(tmp_path)

    def test_a_header_that_was_changed_is_refused(self, tmp_path):
        path = checkpoint.save_checkpoint(tmp_path, self.content(3), keep=3)
        path.write_bytes(path.read_bytes().replace(b'"examples-seen":"12345"', b'"examples-seen":"99999"'))
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.load_checkpoint(path)

    def test_a_renamed_file_is_refused(self, tmp_path):
        path = checkpoint.save_checkpoint(tmp_path, self.content(3), keep=3)
        with pytest.raises(CheckpointError, match="holds round 3: it was renamed"):
            checkpoint.load_checkpoint(path.rename(tmp_path / "round-0009.safetensors"))

    def test_a_newer_version_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(checkpoint, "VERSION", 3)
        path = checkpoint.save_checkpoint(tmp_path, self.content(), keep=1)
        monkeypatch.undo()
        with pytest.raises(CheckpointError, match="version 3, this fedgan reads 2"):
            checkpoint.load_checkpoint(path)

    def test_no_checkpoint_is_none(self, tmp_path):
        assert checkpoint.latest(tmp_path) is None

    def test_another_run_is_refused_naming_the_difference(self, small):
        config = small()
        content = Checkpoint(Snapshot(ServerState(2, {})), config.identity(), roster().summary())
        checkpoint.require_same_run(content, config, roster().summary())
        with pytest.raises(CheckpointError, match="local.steps was 2, is 5"):
            checkpoint.require_same_run(content, small(local__steps=5), roster().summary())
        other = Roster(roster().clients | {3: replace(answer(3), num_examples=39, data_digest="e")})
        with pytest.raises(
            CheckpointError, match="the data of partition 3: num-examples was 40, is 39, data-digest was 'd', is 'e'$"
        ):
            checkpoint.require_same_run(content, config, other.summary())
        with pytest.raises(CheckpointError, match="num-rounds=1, but 2 rounds are done"):
            checkpoint.require_same_run(content, small(federation__num_rounds=1), roster().summary())


def journal_line(round, **changes):
    """Returns a line of a journal that has all its keys."""
    counts = dict.fromkeys(("examples-seen", "bytes-down", "bytes-up"), 0)
    return {"round": round, **counts, "seconds": {}, "clients": [], "refused": [], "scores": {}} | changes


class TestJournal:
    def test_lines_read_back_and_a_torn_last_line_is_left_out(self, tmp_path):
        path = tmp_path / "journal.jsonl"
        for round in (1, 2, 3):
            journal.append(path, journal_line(round))
        with path.open("a") as file:
            file.write('{"round": 4, "sco')
        assert [line["round"] for line in journal.read(path)] == [1, 2, 3]
        journal.cut(path, 2)
        assert [json.loads(text)["round"] for text in path.read_text().splitlines()] == [1, 2]

    def test_a_torn_line_in_the_middle_is_an_error(self, tmp_path):
        path = tmp_path / "journal.jsonl"
        path.write_text(f'{json.dumps(journal_line(1))}\n{{"rou\n{{"round": 3}}\n')
        with pytest.raises(CheckpointError, match="line 2, is not a line of a journal"):
            journal.read(path)

    def test_a_failed_write_leaves_the_old_content(self, tmp_path, monkeypatch):
        path = tmp_path / "file"
        path.write_text("old")
        monkeypatch.setattr(files.os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space"):
            files.write_atomically(path, b"new")
        assert path.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["file"]

    def test_mean_of_weights_by_images(self):
        line = {"clients": [{"num-examples": 1, "x": 4.0}, {"num-examples": 3, "x": 8.0}, {"num-examples": 9}]}
        assert journal.mean_of(line, "x") == 7.0
        assert journal.mean_of(line, "y") is None

    def test_a_folder_with_a_run_is_refused_unless_resumed(self, tmp_path):
        run = run_directory.RunDirectory(tmp_path / "run")
        run.check(resume=False)
        with pytest.raises(ConfigError, match="holds no run to go on with"):
            run.check(resume=True)
        run.create()
        run.config.write_text("")
        run.check(resume=True)
        run.check(resume=False)  # it died before its first round: there is nothing to lose
        for file in (run.journal, run.checkpoints / "round-0001.safetensors"):
            file.write_text("")
            with pytest.raises(ConfigError, match="holds a run already"):
                run.check(resume=False)
            file.unlink()

    def test_events_are_read_apart_from_rounds_and_outlive_a_cut(self, tmp_path):
        path = tmp_path / "journal.jsonl"
        back = {"event": "rollback", "round": 1, "reason": "fid"}
        for line in (journal_line(1), journal_line(2), back, journal_line(3)):
            journal.append(path, line)
        assert [line["round"] for line in journal.read(path)] == [1, 2, 3]
        journal.cut(path, 1)
        assert journal.read(path) == [journal_line(1)]
        assert journal.events(path) == [back]

    def test_a_folder_is_one_process_at_a_time(self, tmp_path):
        run = run_directory.RunDirectory(tmp_path / "run")
        run.create()
        with run.locked(), pytest.raises(ConfigError, match="another process is at work"), run.locked():
            pass
        with run.locked():
            pass

    def test_new_folders_do_not_collide(self, tmp_path):
        first = run_directory.resolve("", tmp_path)
        first.path.mkdir(parents=True)
        second = run_directory.resolve("", tmp_path)
        assert first.path != second.path
        assert first.path.parent == second.path.parent == tmp_path / "runs"


FAILS = {
    "federated-fid": 36.2,
    "client-fid": [30.0, 88.1, None],
    "worst-client": 1,
    "worst-client-fid": 88.1,
    "class-fid": [20.0, 120.4],
    "worst-class": 1,
    "worst-class-fid": 120.4,
    "federated-clients": [0, 1],
}


def test_a_round_is_shown_with_the_clients_and_classes_it_fails():
    line = {"round": 5, "seconds": {}, "clients": [], "refused": [], "scores": FAILS}
    assert journal.describe(line, 30, []) == (
        "round 5/30  0.00 s  federated-fid 36.2  worst client 1 (88.1)  worst class 1 (120)  "
        "federated over 2 of 3 clients"
    )


def test_a_running_run_knows_the_scores_of_its_journal_through_restarts_appended_rounds_and_cuts(tmp_path):
    def line(round):
        return journal_line(round, scores={"fid": 100.0 - round}, clients=[{"partition": 0, "num-examples": 1}])

    path = tmp_path / "journal.jsonl"
    journal.append(path, line(1))
    journal.note(path, "resumed", 1, "")
    known = journal.Scores(path)
    known.append(line(2))
    known.append(line(3))
    assert known.lines == [{"round": k, "scores": {"fid": 100.0 - k}} for k in (1, 2, 3)]
    known.cut(1)
    known.append(line(2) | {"scores": {}})
    assert known.lines == [{"round": 1, "scores": {"fid": 99.0}}, {"round": 2, "scores": {}}]
    assert journal.read(path) == [line(1), line(2) | {"scores": {}}]
