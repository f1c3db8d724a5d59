"""ROUGE-L: values by hand, and a second implementation by recursion."""

from functools import cache

import pytest
import torch
from torch import nn

from common.errors import DataError
from common.examples import TextSpec
from common.examples.text import PAD, pack
from common.metrics.comparison import Comparison, Reference, Sample
from common.metrics.rouge import ROUGE, continuations, longest_common, rouge_l
from common.metrics.words import words
from common.models.tokens import TextSampler, TokenNetwork
from common.seeding import numpy_generator


def test_by_hand():
    sample, reference = words("police kill the gunman"), words("police killed the gunman today")
    assert longest_common(sample, reference) == 3
    assert rouge_l(sample, reference) == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))


def test_order_counts_and_gaps_do_not():
    assert rouge_l(list("abc"), list("axbxc")) == pytest.approx(6 / 8)
    assert rouge_l(list("abc"), list("cba")) == pytest.approx(1 / 3)


@pytest.mark.parametrize("pair", [("abc", "abc", 1), ("abc", "def", 0), ("", "abc", 0), ("", "", 0)])
def test_the_ends_of_the_scale(pair):
    assert rouge_l(list(pair[0]), list(pair[1])) == pair[2]


@pytest.mark.parametrize("case", range(20))
def test_the_longest_common_subsequence_is_that_of_the_textbook(case):
    draw = numpy_generator(case, "rouge")
    first, second = (draw.choice(list("abcd"), draw.integers(0, 80)).tolist() for _ in range(2))

    @cache
    def common(i, j):
        if not i or not j:
            return 0
        if first[i - 1] == second[j - 1]:
            return common(i - 1, j - 1) + 1
        return max(common(i - 1, j), common(i, j - 1))

    assert longest_common(first, second) == common(len(first), len(second))


class Turn(TokenNetwork):
    """Is sure of the character that comes next in ``ab ab ab ...``, and where it is wrong, of an a."""

    def __init__(self, spec, *, right=True):
        super().__init__()
        self.spec, self.right = spec, right
        self.anchor = nn.Parameter(torch.zeros(()))

    def begin(self, labels):
        return None

    def advance(self, tokens, labels, state):
        after = {"a": "b", "b": " ", " ": "a"} if self.right else dict.fromkeys("ab ", "a")
        logits = torch.full((len(tokens), self.spec.num_tokens), -1e9)
        for row, token in enumerate(tokens.tolist()):
            character = self.spec.decode(self.spec.to_stored(torch.tensor([token])))
            logits[row, self.spec.encode(after.get(character, "a"))] = 0.0
        return logits, state


def test_rows_of_held_out_text_are_gone_on_from():
    spec = TextSpec(12, 6, " ab", 1)
    rows = torch.from_numpy(pack(["ab " * 10], 12, 6))
    labels = torch.zeros(len(rows), dtype=torch.int64)

    def score(sampler):
        nothing = Sample(rows[:0], labels[:0], spec, None)
        return ROUGE.compute(Comparison(Reference(rows, labels, spec, None), nothing, 0, sampler))["rouge-l"]

    assert continuations(TextSampler(Turn(spec)), rows[1:3], labels[1:3], 0) == ["ab ab ", "ab ab "]
    assert score(TextSampler(Turn(spec))) == 1
    assert score(TextSampler(Turn(spec, right=False))) == 0
    with pytest.raises(DataError, match="goes on from no prompts"):
        score(nn.Identity())
    rows[:, 0] = PAD
    with pytest.raises(DataError, match="no row of held-out text is full"):
        score(TextSampler(Turn(spec)))
