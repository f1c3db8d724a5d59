"""The line of a round that the server writes is the one that all who read a run are typed by."""

import re
from pathlib import Path
from typing import get_args

from common.journal_lines import Event, RoundLine
from server.rounds.base import RoundRecord

DOCS = Path(__file__).parents[4] / "docs"
CLIENT = {"own-loss": 0.5, "partition": 1, "num-examples": 3}


def test_a_round_is_written_with_the_keys_of_its_type_in_the_same_order_as_ever():
    record = RoundRecord(2, [0, 1], [dict(CLIENT)], {0: "late"}, {"train": 1.0}, 5, 6)
    line = record.line(30, {0: "north", 1: "south"}, ["clip norm=1"])
    assert list(line) == [
        "round", "examples-seen", "seconds", "bytes-down", "bytes-up", "transforms", "clients", "refused", "scores"
    ]  # fmt: skip
    assert line.keys() - RoundLine.__optional_keys__ == RoundLine.__required_keys__
    assert list(line["clients"][0].items()) == [*CLIENT.items(), ("site", "south")]
    assert line["refused"] == [{"partition": 0, "reason": "late", "site": "north"}]
    assert record.clients == [CLIENT]
    assert "transforms" not in record.line(30, {}, [])


def test_every_event_that_is_written_is_documented():
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z-]+)` \|", text.split("## The journal's events")[1].split("\n## ")[0], re.M)
    assert sorted(get_args(Event)) == sorted(documented)
