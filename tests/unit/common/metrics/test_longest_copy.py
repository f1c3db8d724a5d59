"""The longest copied run: values by hand, and every run of every sample looked for."""

import pytest

from common.metrics import Names
from common.metrics.longest_copy import LONGEST_COPY, Runs, copy_scores
from common.seeding import numpy_generator


@pytest.mark.parametrize(
    ("samples", "texts", "length"),
    [
        (["she sells shells"], ["who sells sea shells"], len(" sells s")),
        (["xyz", "the king"], ["a queen", "oh the kin of"], len("the kin")),
        (["abc"], ["xxabcxx"], 3),
        (["xxabcxx"], ["abc"], 3),
        (["abc"], ["def"], 0),
        (["ab"], ["a", "b"], 1),
        ([], ["abc"], 0),
        (["abc", ""], [], 0),
    ],
)
def test_by_hand(samples, texts, length):
    assert Runs(samples).longest_in(texts) == length


@pytest.mark.parametrize("case", range(30))
def test_it_is_what_looking_for_every_run_finds(case):
    draw = numpy_generator(case, "copy")
    samples, texts = (["".join(draw.choice(list("abc"), draw.integers(0, 40))) for _ in range(4)] for _ in range(2))
    runs = {sample[i:j] for sample in samples for i in range(len(sample)) for j in range(i, len(sample) + 1)}
    assert Runs(samples).longest_in(texts) == max(len(run) for run in runs if any(run in text for text in texts))


def test_scores_name_the_client_of_the_longest_run():
    scores = copy_scores([4, None, 9, 9], [5, None, 3, 2])
    assert scores == {
        "longest-copy": 9.0,
        "longest-copy-held-out": 5.0,
        "client-longest-copy": [4.0, None, 9.0, 9.0],
        "client-longest-copy-held-out": [5.0, None, 3.0, 2.0],
        "most-copied": 2,
    }
    assert LONGEST_COPY.weak_spots(scores, Names(clients={2: "PUCK"})) == [
        "The longest run that samples have in common with training text has 9 characters, of client 2 (PUCK); with as "
        "much held-out text, 5."
    ]
    assert copy_scores([None], [None]) == {}
    assert LONGEST_COPY.weak_spots({}, Names()) == []
