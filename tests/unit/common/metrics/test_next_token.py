"""Accuracy and bits a character: values by hand, and that every held-out character counts once."""

import math

import pytest
import torch
from torch import nn

from common.errors import DataError, DivergenceError
from common.examples import TextSpec
from common.examples.text import END_TOKEN, NUM_SPECIAL, PAD_TOKEN, pack
from common.generation import Mixture
from common.metrics.base import Names
from common.metrics.comparison import Comparison, Reference, Sample
from common.metrics.federated_next_token import FEDERATED_NEXT_TOKEN, federated_scores
from common.metrics.next_token import NEXT_TOKEN, accuracies, mean_and_worst, pooled, summed, tally
from common.models.tokens import TextSampler, TokenNetwork

A, B = NUM_SPECIAL, NUM_SPECIAL + 1
TEXTS = ["ab", "a"]  # with their ends five characters: a, b, the end, a, the end


class Constant(TokenNetwork):
    """Expects the same of every character: a half an a, a quarter each a b and the end, whatever came before."""

    def __init__(self, spec, odds=None):
        super().__init__()
        self.spec = spec
        logits = torch.full((spec.num_tokens,), -1e9)
        for token, share in (odds or {A: 0.5, B: 0.25, END_TOKEN: 0.25}).items():
            logits[token] = math.log(share)
        self.logits = nn.Parameter(logits)

    def forward(self, tokens, labels):
        return self.logits.expand(*tokens.shape, -1)

    def begin(self, labels):
        return None

    def advance(self, tokens, labels, state):
        return self.logits.expand(len(tokens), -1), state


def made(length=4, overlap=2, **options):
    spec = TextSpec(length, overlap, "ab", 1)
    rows = torch.from_numpy(pack(TEXTS, length, overlap))
    return TextSampler(Constant(spec, **options)), rows, torch.zeros(len(rows), dtype=torch.int64)


@pytest.mark.parametrize(("length", "overlap"), [(2, 1), (4, 2), (4, 3), (9, 1), (9, 4), (40, 20)])
def test_by_hand_however_texts_are_cut_into_rows(length, overlap):
    sums = tally(*made(length, overlap))
    assert sums.sum(0).tolist() == pytest.approx([5, 2, 8 * math.log(2)])  # 1 + 2 + 2 + 1 + 2 bits
    assert pooled(sums) == pytest.approx((2 / 5, 8 / 5))


def test_a_character_that_has_no_token_is_the_unknown_one():
    sampler, rows, labels = made(odds={A: 0.5, END_TOKEN: 0.25, 2: 0.25})
    rows[rows == ord("b")] = ord("z")
    assert pooled(tally(sampler, rows, labels)) == pytest.approx((2 / 5, 8 / 5))


def test_by_hand_several_models_expect_the_mean_of_what_each_does():
    sampler, rows, labels = made()
    other, _, _ = made(odds={A: 0.25, B: 0.5, END_TOKEN: 0.25})
    sums = tally(Mixture([sampler, other], torch.ones(2, 1)), rows, labels)  # 3/8 an a, 3/8 a b, 1/4 the end
    assert float(sums.sum(0)[2]) == pytest.approx(3 * math.log(8 / 3) + 2 * math.log(4))


def test_padding_that_is_expected_is_not_right():
    sums = tally(*made(9, 1, odds={PAD_TOKEN: 0.5, A: 0.25, B: 0.125, END_TOKEN: 0.125}))
    assert sums[:, :2].sum(0).tolist() == [5, 0]


def test_rows_are_looked_at_in_parts_without_a_difference(monkeypatch):
    whole = tally(*made(2, 1))
    monkeypatch.setattr("common.metrics.next_token._MOST_ROWS", {"cpu": 2})
    assert torch.equal(tally(*made(2, 1)), whole)


def test_sums_are_added_by_source_and_the_worst_tenth_counts_equally():
    sums = torch.tensor([[4, 1, 0], [4, 3, 0], [10, 9, 0]]).double()
    by_source = summed(sums, torch.tensor([2, 2, 0]), 3)
    assert by_source.tolist() == [[10, 9, 0], [0, 0, 0], [8, 4, 0]]
    assert accuracies(by_source) == [0.9, None, 0.5]
    assert mean_and_worst([0.9, None, 0.5]) == pytest.approx((0.7, 0.5))
    values = [k / 20 for k in range(20)]
    assert mean_and_worst(values[::-1]) == pytest.approx((19 / 40, 1 / 40))
    assert mean_and_worst([*values, 1.0])[1] == pytest.approx(1 / 20)  # three of 21


def compared(**changes):
    sampler, rows, labels = made(2, 1)
    sources = torch.tensor([0, 0, 0, 1, 1])
    real = Reference(rows, labels, sampler.spec, None, sources)
    nothing = Sample(rows[:0], labels[:0], sampler.spec, None)
    return Comparison(real, nothing, 0, **{"sampler": sampler, **changes})


def test_the_metric_by_hand():
    assert NEXT_TOKEN.compute(compared()) == pytest.approx(
        {
            "bits-per-character": 8 / 5,
            "accuracy": 2 / 5,
            "mean-clients-accuracy": (1 / 3 + 1 / 2) / 2,
            "worst-clients-accuracy": 1 / 3,
        }
    )


def test_some_of_the_held_out_rows_are_evenly_picked():
    scores = NEXT_TOKEN.compute(compared(num_held_out=2))  # the first and the third of five: a and an end
    assert (scores["accuracy"], scores["bits-per-character"]) == pytest.approx((1 / 2, 3 / 2))
    assert NEXT_TOKEN.compute(compared(num_held_out=9)) == NEXT_TOKEN.compute(compared())


def test_what_gives_no_probabilities_or_impossible_ones_is_no_figure():
    sampler, rows, labels = made()
    with pytest.raises(DataError, match="Identity gives no probabilities"):
        tally(nn.Identity(), rows, labels)
    with torch.no_grad():
        sampler.network.logits[A] = math.nan
    with pytest.raises(DivergenceError, match="not finite"):
        tally(sampler, rows, labels)
    with pytest.raises(DataError, match="no held-out characters"):
        pooled(torch.zeros(2, 3))


class TestFederated:
    def test_by_hand(self):
        sums = {0: [10, 9, 10 * math.log(2)], 3: [30, 15, 70 * math.log(2)]}
        scores = federated_scores({k: torch.tensor(row).double() for k, row in sums.items()}, 5)
        assert scores["client-accuracy"] == [0.9, None, None, 0.5, None]
        del scores["client-accuracy"]
        assert scores == pytest.approx(
            {
                "federated-bits-per-character": 2,
                "federated-accuracy": 24 / 40,
                "federated-mean-accuracy": 0.7,
                "federated-worst-accuracy": 0.5,
                "least-known-client": 3,
                "least-known-accuracy": 0.5,
            }
        )

    def test_the_client_that_is_known_least_is_a_weak_spot(self):
        scores = {"least-known-client": 3, "least-known-accuracy": 0.5, "federated-accuracy": 0.6}
        assert FEDERATED_NEXT_TOKEN.weak_spots(scores, Names((), {3: "HAMLET (Hamlet)"})) == [
            "It expects 50.0% of the characters of client 3 (HAMLET (Hamlet)), the fewest of any, and 60.0% of all "
            "clients'."
        ]
        assert FEDERATED_NEXT_TOKEN.weak_spots({}, Names()) == []
