"""Counts of clients added up: exact, whoever took part, and what is refused."""

import pytest
import torch

from client.batches import Assignment
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common.algorithms.count_sums import CountSums, added
from common.config import RunConfig
from common.errors import ConfigError, ProtocolError
from common.examples import TextSet
from common.examples.text import pack
from common.exchange import Payload, Reply
from common.seeding import torch_generator
from server.clients import admission
from tests.unit.common.algorithms.training import make_context

CONFIG = RunConfig.from_flat(
    {
        **{"model": "ngram order=4", "objective": "next-token", "algorithm": "count-sums", "data.name": "shakespeare"},
        **{"federation.num-rounds": 1, "partition": "by-source", "local.steps": 2, "local.batch-size": 4},
    }
)


def texts_of(num, seed):
    generator = torch_generator(seed, "texts")
    return ["".join("abcde"[int(i)] for i in torch.randint(5, (11,), generator=generator)) for _ in range(num)]


def rows_of(texts):
    stored = torch.from_numpy(pack(texts, 9, 5))
    return TextSet(stored, torch.zeros(len(stored), dtype=torch.int64), overlap=5, vocabulary="abcde")


def replies_of(algorithm, texts_by_client):
    replies = []
    for partition, texts in enumerate(texts_by_client):
        examples = rows_of(texts)
        trainer = Trainer(TrainerSpec.of(CONFIG, examples.spec(1), torch.device("cpu")))
        trainer.assign(Assignment(examples, 0, partition, 1), None)
        replies.append(algorithm.run(Payload(trainer.initial()), trainer, {}, partition))
    return replies


def counts(tree):
    return dict(zip(tree["tokens.keys"].tolist(), tree["tokens.counts"].tolist(), strict=True))


def updated(algorithm, replies):
    model, spec = CONFIG.model_component, rows_of(["a"]).spec(1)
    state = algorithm.init(model.build(spec, 0).state_dict(), model.roles)
    return algorithm.update(state, replies, make_context())


def test_the_sums_are_the_counts_of_all_texts_in_one_place():
    clients = [texts_of(num, seed) for seed, num in enumerate((3, 1, 7))]
    replies = replies_of(CountSums(), clients)
    pooled = CONFIG.model_component.counted(
        rows_of(["a"]).spec(1),
        torch.cat([rows_of(texts).spec(1).to_input(rows_of(texts).stored) for texts in clients]),
    )
    state = updated(CountSums(), replies)
    assert all(torch.equal(state.parameters[key], pooled[key]) for key in pooled)
    assert state.parameters.keys() == pooled.keys()
    again = updated(CountSums(), replies[::-1])
    assert all(torch.equal(again.parameters[key], pooled[key]) for key in pooled)
    assert not state.average


def test_only_those_who_took_part_are_counted_each_once():
    replies = replies_of(CountSums(), [texts_of(3, 0), texts_of(2, 1)])
    one, both = counts(updated(CountSums(), replies[:1]).parameters), counts(updated(CountSums(), replies).parameters)
    other = counts(replies[1].arrays)
    assert one == counts(replies[0].arrays)
    assert both == {key: one.get(key, 0) + other.get(key, 0) for key in one.keys() | other.keys()}


def test_a_client_sends_nothing_that_it_has_seen_less_often():
    (whole,), (few,) = (replies_of(CountSums(min_count=least), [texts_of(9, 0)]) for least in (1, 3))
    assert counts(few.arrays) == {key: number for key, number in counts(whole.arrays).items() if number >= 3}
    assert 0 < len(few.arrays["tokens.keys"]) < len(whole.arrays["tokens.keys"])


def test_the_journal_has_the_loss_of_a_clients_counts_on_its_own_texts():
    (reply,) = replies_of(CountSums(), [["abcde"] * 30])
    assert 0.0 < reply.metrics["token-loss"] < 0.2
    assert reply.metrics["training-accuracy"] > 0.9


def reply_with(keys, numbers, dtype=torch.int64):
    arrays = {"tokens.keys": torch.tensor(keys, dtype=dtype), "tokens.counts": torch.tensor(numbers, dtype=dtype)}
    return Reply(0, 5, arrays, {})


@pytest.mark.parametrize(
    ("keys", "numbers", "wrong"),
    [
        ([3, 4], [1], "2 keys and 1 counts"),
        ([4, 3], [1, 1], "not ascending"),
        ([3, 3], [1, 1], "not ascending"),
        ([-1, 3], [1, 1], "not ascending"),
        ([3, 4], [0, 1], r"not in \[1, 3920\]"),
        ([3, 4], [1, 5 * 28 * 28 + 1], r"not in \[1, 3920\]"),
    ],
)
def test_what_cannot_be_counts_is_refused(keys, numbers, wrong):
    with pytest.raises(ProtocolError, match=wrong):
        CountSums().check_reply(reply_with(keys, numbers), make_context())
    CountSums().check_reply(reply_with([3, 4], [1, 2]), make_context())
    CountSums().check_reply(reply_with([], []), make_context())


class Said:
    partition, num_examples = 0, 5


def test_counts_of_any_length_are_admitted_and_of_another_type_are_not():
    template = reply_with([], []).arrays
    admission.check(reply_with([3, 4], [1, 2]), Said(), template, any_length=True)
    with pytest.raises(ProtocolError, match="int64"):
        admission.check(reply_with([3, 4], [1, 2], torch.int32), Said(), template, any_length=True)
    with pytest.raises(ProtocolError, match="int64"):
        admission.check(reply_with([[3, 4]], [[1, 2]]), Said(), template, any_length=True)
    with pytest.raises(ProtocolError, match="int64"):
        admission.check(reply_with([3, 4], [1, 2]), Said(), template)


def test_a_client_with_much_text_is_no_outlier():
    assert CountSums().reply_parts(reply_with([3, 4], [1, 2]).arrays) == []  # whose norms would be compared


def test_added_keeps_keys_in_order():
    total = added([reply_with([2, 9], [1, 4]).arrays, reply_with([1, 9], [7, 8]).arrays])
    assert counts(total) == {1: 7, 2: 1, 9: 12}
    assert total["tokens.keys"].tolist() == [1, 2, 9]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"algorithm": "fedavg"}, "is counts, which are added up: take algorithm='count-sums'"),
        ({"model": "transformer"}, "is trained in steps: take algorithm='fedavg'"),
        ({"federation.num-rounds": 2}, "set federation.num-rounds=1"),
        ({"aggregate": "median"}, "only aggregate='mean'"),
        ({"weighting": "uniform"}, "brings its own weights"),
        ({"transforms": "compress"}, "leave it out"),
        ({"transforms": "clip norm=1"}, "leave it out"),
        ({"algorithm": "count-sums ema-half-life=1"}, "ema-half-life"),
        ({"model": "ngram conditional=true"}, "leave it out"),
    ],
)
def test_what_makes_no_sense_of_counts_is_refused_in_a_line(changes, wrong):
    with pytest.raises(ConfigError, match=wrong) as refused:
        CONFIG.replaced(changes)
    assert "\n" not in str(refused.value)
