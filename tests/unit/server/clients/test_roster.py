"""Which clients form one federation."""

from dataclasses import replace

import pytest

from common import wire
from common.errors import MismatchError
from common.examples import TextSpec
from server.clients.roster import form_roster


def answer(partition, spec):
    return wire.RollCall(partition, 3, 40, None, spec, ("all",), f"digest-{partition}", "code", site="")


LATIN, GREEK = TextSpec(9, 4, "abz", 1), TextSpec(9, 4, "a\N{GREEK SMALL LETTER ALPHA}", 1)


def test_sites_agree_on_one_vocabulary():
    roster = form_roster({0: answer(0, LATIN), 1: answer(1, GREEK), 2: answer(2, LATIN)}, 3)
    assert roster.spec == TextSpec(9, 4, "abz\N{GREEK SMALL LETTER ALPHA}", 1)
    assert roster.shared_spec == roster.spec
    assert roster.summary()["shape"] == roster.spec.record()


def test_sites_with_the_same_characters_are_sent_nothing():
    roster = form_roster({k: answer(k, LATIN) for k in range(3)}, 3)
    assert (roster.spec, roster.shared_spec) == (LATIN, None)


@pytest.mark.parametrize("other", [{"length": 10}, {"overlap": 5}, {"vocabulary": ""}])
def test_texts_in_other_rows_or_of_bytes_do_not_fit(other):
    with pytest.raises(MismatchError, match=r"partition 2 has text in rows of .*, expected text in rows of 9"):
        form_roster({0: answer(0, LATIN), 1: answer(1, LATIN), 2: answer(2, replace(LATIN, **other))}, 3)
