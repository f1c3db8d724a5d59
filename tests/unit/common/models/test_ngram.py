"""The model of counts: what is counted, what it expects, and how it is loaded and sampled from."""

import math
from collections import Counter

import pytest
import torch

from common.errors import ConfigError
from common.examples import TextSpec
from common.examples.text import pack
from common.generation import load_sampler
from common.metrics.next_token import pooled, tally
from common.models.ngram import Counts, NGram, count
from common.seeding import torch_generator

SPEC = TextSpec(9, 5, "abc", 1)
END, A, B, C = 1, 3, 4, 5


def rows_of(texts, spec=SPEC):
    return spec.to_input(torch.from_numpy(pack(texts, spec.length, spec.overlap)))


def counts_of(rows, order, spec=SPEC):
    """Returns how often each run was seen, by its tokens."""
    keys, counts = count(rows, order, spec.num_tokens, spec.overlap)
    assert bool((keys[1:] > keys[:-1]).all())
    found = {}
    for key, number in zip(keys.tolist(), counts.tolist(), strict=True):
        digits, rest = [], key
        while rest:
            rest, digit = divmod(rest, spec.num_tokens)
            digits.insert(0, digit)
        found[tuple(digits)] = number
    return found


def by_brute_force(texts, order, spec=SPEC):
    """Returns the runs in the stream of texts, each cut where the end of the text before stands."""
    found = Counter()
    for text in texts:
        stream = [END, *spec.encode(text).tolist(), END]
        for end in range(1, len(stream)):
            for length in range(1, min(order, end + 1) + 1):
                found[tuple(stream[end - length + 1 : end + 1])] += 1
    return found


def probability(seen, context, token, num_tokens):
    """Returns Witten and Bell's p(token | context), by the definition."""
    shorter = probability(seen, context[1:], token, num_tokens) if context else 1 / num_tokens
    after = {run[-1]: number for run, number in seen.items() if run[:-1] == tuple(context)}
    if not after:
        return shorter
    return (after.get(token, 0) + len(after) * shorter) / (sum(after.values()) + len(after))


def network_of(rows, order, spec=SPEC):
    network = Counts(spec, order)
    keys, counts = count(rows, order, spec.num_tokens, spec.overlap)
    network.load_state_dict({"keys": keys, "counts": counts})
    return network


def test_a_text_of_five_letters_by_hand():
    rows = rows_of(["abaab"])
    assert counts_of(rows, 2) == {
        **{(A,): 3, (B,): 2, (END,): 1},
        **{(END, A): 1, (A, B): 2, (B, A): 1, (A, A): 1, (B, END): 1},
    }
    network = network_of(rows, 2)
    expected = network(torch.tensor([[A]]), torch.zeros(1, dtype=torch.int64)).exp()[0, 0].tolist()
    # of no context: 6 tokens of 3 kinds, 6 tokens to spread over; after a: 3 of 2 kinds
    alone = {token: (number + 3 / 6) / (6 + 3) for token, number in ((A, 3), (B, 2), (END, 1), (C, 0))}
    assert expected[B] == pytest.approx((2 + 2 * alone[B]) / 5)
    assert expected[A] == pytest.approx((1 + 2 * alone[A]) / 5)
    assert expected[END] == pytest.approx(2 * alone[END] / 5)
    assert expected[C] == pytest.approx(2 * alone[C] / 5)
    assert sum(expected) == pytest.approx(1)


@pytest.mark.parametrize("order", [1, 2, 4, 5])
def test_every_character_is_counted_once_however_the_rows_are_cut(order):
    texts = ["abcab", "a", "bbacbaacbbaca", "", "cc"]
    assert counts_of(rows_of(texts), order) == by_brute_force(texts, order)
    wide = TextSpec(40, 7, "abc", 1)
    assert counts_of(rows_of(texts, wide), order, wide) == by_brute_force(texts, order)


def test_a_longer_run_than_rows_overlap_is_counted_as_far_as_the_row_shows_it():
    narrow = TextSpec(4, 1, "abc", 1)
    found = counts_of(rows_of(["abcabc"], narrow), 3, narrow)
    assert found[(A, B)] == 2
    assert sum(number for run, number in found.items() if len(run) == 1) == 7
    assert sum(number for run, number in found.items() if len(run) == 3) < 6


def test_held_out_accuracy_and_nats_are_those_of_a_brute_force_count():
    generator = torch_generator(0, "texts")
    texts = ["".join("abc"[int(i)] for i in torch.randint(3, (n,), generator=generator)) for n in (30, 17, 8, 21)]
    held_out = ["abacbcabcaacb", "ccab"]
    model, rows = NGram(order=4), rows_of(texts)
    sampler = load_sampler(model, SPEC, model.counted(SPEC, rows))
    stored = torch.from_numpy(pack(held_out, SPEC.length, SPEC.overlap))
    accuracy, bits = pooled(tally(sampler, stored, torch.zeros(len(stored), dtype=torch.int64)))
    seen = by_brute_force(texts, 4)
    nats, right, total = 0.0, 0, 0
    for text in held_out:
        stream = [END, *SPEC.encode(text).tolist(), END]
        for end in range(1, len(stream)):
            expected = [
                probability(seen, stream[max(0, end - 3) : end], token, SPEC.num_tokens)
                for token in range(SPEC.num_tokens)
            ]
            assert math.fsum(expected) == pytest.approx(1)
            nats -= math.log(expected[stream[end]])
            right += expected[stream[end]] == max(expected)
            total += 1
    assert bits == pytest.approx(nats / total / math.log(2), rel=1e-5)
    assert accuracy == pytest.approx(right / total)


def test_one_token_after_another_it_expects_what_it_does_of_the_row():
    rows = rows_of(["abcab", "bbacbaacbbaca", "cabc"])
    network, labels = network_of(rows, 4), torch.zeros(len(rows), dtype=torch.int64)
    whole = network(rows, labels)
    state = network.begin(labels)
    for place in range(rows.shape[1]):
        expected, state = network.advance(rows[:, place], labels, state)
        assert torch.allclose(expected, whole[:, place], atol=1e-6)


def test_what_comes_later_and_what_other_rows_hold_changes_nothing():
    rows = rows_of(["abcab", "bbacbaacbbaca"])
    network, labels = network_of(rows, 3), torch.zeros(len(rows), dtype=torch.int64)
    whole = network(rows, labels)
    assert torch.equal(network(rows[:, :4], labels), whole[:, :4])
    assert torch.equal(network(rows[1:2], labels[1:2]), whole[1:2])


def test_a_network_that_loads_other_counts_expects_by_these():
    network, text = network_of(rows_of(["abaab"]), 3), rows_of(["abc"])[:, :-1]
    labels = torch.zeros(len(text)).long()
    network(text, labels)  # has looked its counts up once
    keys, counts = network.keys.clone(), network.counts.clone()
    network.load_state_dict({"keys": keys, "counts": counts * torch.arange(1, len(counts) + 1)})
    fresh = Counts(SPEC, 3)
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(network(text, labels), fresh(text, labels))


def test_without_counts_all_tokens_are_alike():
    model = NGram()
    sampler = model.sampler(model.build(SPEC, 0))
    expected = sampler.log_probabilities(rows_of(["abc"]), torch.zeros(1, dtype=torch.int64))
    assert torch.allclose(expected, torch.full_like(expected, -math.log(SPEC.num_tokens)))


def test_the_same_noise_writes_the_same_text_and_of_the_likeliest_what_was_seen():
    rows = rows_of(["abcabcabcabcabc"] * 40)
    model = NGram(order=3)
    sampler = load_sampler(model, SPEC, model.counted(SPEC, rows))
    noise, labels = torch.randn(4, 9, generator=torch_generator(0, "noise")), torch.zeros(4, dtype=torch.int64)
    texts = sampler(noise, labels)
    assert torch.equal(sampler(noise, labels), texts)
    greedy = sampler.adapted(top_p=0.01)
    assert greedy(noise, labels, torch.tensor([[A, B]] * 4))[:, :4].tolist() == [[C, A, B, C]] * 4


def test_runs_that_do_not_fit_into_a_number_are_refused_with_the_longest_that_do():
    assert NGram(order=7).networks(TextSpec(9, 5, "", 1))
    with pytest.raises(ConfigError, match="order=8 of 259 tokens does not fit into 63 bits: set order to 7 or less"):
        NGram(order=8).networks(TextSpec(9, 5, "", 1))


def test_labels_are_not_requested():
    with pytest.raises(ValueError, match="leave it out"):
        NGram(conditional=True)
