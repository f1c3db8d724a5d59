"""What stands in the files of a run directory, whatever version wrote it."""

import json

import pytest

from server.records import json_values, run_files
from server.records.scored_with import scored_with, scored_with_words

ROUND = {
    "round": 3,
    "examples-seen": 60,
    "seconds": {"train": 1.5, "of-a-newer-version": 0.1},
    "bytes-down": 1,
    "bytes-up": 2,
    "of-a-newer-version": {"a": [1, None]},
    "clients": [{"own-loss": 0.5, "partition": 0, "num-examples": 20, "site": "north"}],
    "refused": [{"partition": 1, "reason": "late", "of-a-newer-version": True}],
    "scores": {"fid": 12.5, "of-a-newer-version": {"of": "any form"}},
    "scored-with": {"extractor": "mnist-cnn", "num-samples": 100, "utility-num-samples": 9, "of-a-newer-version": 1},
}
EVENT = {"event": "of-a-newer-version", "round": 3, "reason": "", "of-a-newer-version": [1]}


@pytest.mark.parametrize("line", [ROUND, EVENT, EVENT | {"refused": ROUND["refused"]}])
def test_what_a_newer_version_has_beside_what_is_known_passes_through(line):
    found, problems = run_files.journal_line(json.dumps(line).encode())
    assert problems == []
    assert json.dumps(found) == json.dumps(line)


@pytest.mark.parametrize(
    ("examples", "fits"),
    [
        ({"kind": "text", "length": 9, "overlap": 4, "vocabulary": "a 20-7e 3b1", "num-classes": 2}, True),
        ({"kind": "text", "length": 9, "overlap": 9, "vocabulary": "a 20-7e", "num-classes": 2}, False),
        ({"kind": "text", "length": 9, "overlap": 4, "vocabulary": "0-ffffffff", "num-classes": 2}, False),
        ({"channels": 1, "size": 28, "num-classes": 10}, True),
        ({"channels": 1, "size": 0, "num-classes": 10}, False),
    ],
)
def test_a_roster_says_what_its_examples_are_or_what_is_wrong(examples, fits):
    found, problems = run_files.roster(
        {"shape": examples, "class-names": ["a"] * examples["num-classes"], "clients": []}
    )
    assert found.get("shape") == (examples if fits else None)
    assert [problem[:6] for problem in problems] == ([] if fits else ["shape="])


def test_what_is_not_known_of_an_older_version_is_there_all_the_same():
    found, problems = run_files.journal_line(b'{"round": 1, "scores": {"fid": 2}, "scored-with": {}}')
    assert found == {
        "round": 1, "examples-seen": 0, "bytes-down": 0, "bytes-up": 0, "seconds": {}, "clients": [], "refused": [],
        "scores": {"fid": 2.0}, "scored-with": {"extractor": None, "num-samples": None},
    }  # fmt: skip
    assert json_values.wrong(problems) == []


def test_what_scores_were_made_with_is_reported_also_where_a_number_is_not_known():
    made = {"extractor": None, "num-samples": None, "utility-num-samples": None}
    assert scored_with(made) == "an unknown number of samples"
    assert scored_with_words(made) == "an unknown number of samples, utility on an unknown number of"
    assert scored_with_words({"extractor": "mnist-cnn", "num-samples": 2000, "utility-num-samples": 30000}) == (
        "features of mnist-cnn, 2,000 generated images, utility on 30,000"
    )
