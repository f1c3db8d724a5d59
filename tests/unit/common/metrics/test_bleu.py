"""BLEU and self-BLEU: values by hand, those of sacrebleu, and a second way to count, one text at a time."""

import math
from collections import Counter

import pytest

from common.errors import DataError
from common.metrics.bleu import ORDERS, bleu, self_bleu
from common.seeding import numpy_generator


def split(*texts):
    return [text.split() for text in texts]


SAMPLES = split("to be or not to be , that is the question", "the king is in the garden", "to be king")
REFERENCES = split(
    "to be , or not to be : that is the question", "the king and the queen are in the garden of the king"
)


def test_by_hand_a_short_sample_pays_for_the_missing_words():
    found = bleu(split("a b c"), split("a b d e"))  # 2 of 3 words, 1 of 2 pairs, 3 words for 4
    assert found[2] == pytest.approx(math.exp(-1 / 3) * math.sqrt(2 / 3 * 1 / 2))
    assert found[3] == 0


def test_by_hand_an_n_gram_counts_as_often_as_the_reference_that_has_it_most():
    found = bleu(split("a a a b"), split("a a c", "a b"))  # 3 of 4 words, 2 of 3 pairs; nearest in length is 3
    assert found[2] == pytest.approx(math.sqrt(3 / 4 * 2 / 3))


def test_by_hand_self_bleu_is_against_the_others_alone():
    assert self_bleu(split("a b", "a b", "a c"))[2] == pytest.approx(math.sqrt(5 / 6 * 2 / 3))
    assert self_bleu(split("a b", "c d"))[2] == 0
    assert self_bleu(split("a b c d e", "a b c d e"))[5] == pytest.approx(1)


def test_samples_that_are_references_are_perfect():
    assert bleu(SAMPLES[:2], SAMPLES) == pytest.approx(dict.fromkeys(ORDERS, 1))


def test_they_are_what_sacrebleu_says():
    # sacrebleu 2.6.0: BLEU(tokenize="none", smooth_method="none", max_ngram_order=order).corpus_score(...).score / 100
    ours = {2: 0.3775118397781689, 3: 0.3016358295831123, 4: 0.21760187186350202, 5: 0.0}
    assert bleu(SAMPLES, REFERENCES) == pytest.approx(ours, abs=1e-9)
    assert self_bleu(SAMPLES) == pytest.approx({2: 0.24253562503633297, 3: 0, 4: 0, 5: 0}, abs=1e-9)


def counted(text, order):
    return Counter(tuple(text[at : at + order]) for at in range(len(text) - order + 1))


def one_at_a_time(samples, references_of, order):
    logs, brevity = 0.0, sum(map(len, samples))
    nearest = sum(
        min((abs(len(r) - len(s)), len(r)) for r in those)[1] for s, those in zip(samples, references_of, strict=True)
    )
    for n in range(1, order + 1):
        right = every = 0
        for sample, those in zip(samples, references_of, strict=True):
            most = Counter()
            for reference in those:
                most |= counted(reference, n)
            right += (counted(sample, n) & most).total()
            every += counted(sample, n).total()
        if not right:
            return 0.0
        logs += math.log(right / every) / order
    return math.exp(logs + min(0, 1 - nearest / brevity))


@pytest.mark.parametrize("case", range(6))
def test_they_are_what_counting_one_text_at_a_time_gives(case):
    draw = numpy_generator(case, "bleu")

    def texts(count):
        return [draw.choice(list("abc"), draw.integers(1, 14)).tolist() for _ in range(count)]

    samples, references = texts(7), texts(4)
    others = [samples[:place] + samples[place + 1 :] for place in range(7)]
    for order in ORDERS:
        assert bleu(samples, references)[order] == pytest.approx(one_at_a_time(samples, [references] * 7, order))
        assert self_bleu(samples)[order] == pytest.approx(one_at_a_time(samples, others, order))


def test_texts_without_words_score_nothing_and_none_at_all_are_refused():
    assert bleu([[], []], REFERENCES) == self_bleu([[], []]) == dict.fromkeys(ORDERS, 0)
    with pytest.raises(DataError, match="0 samples and 2 references"):
        bleu([], REFERENCES)
    with pytest.raises(DataError, match="1 sample"):
        self_bleu(SAMPLES[:1])
