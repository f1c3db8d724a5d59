"""Which errors last, so that nobody tries the same again."""

import pytest

from common import errors


def kinds():
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FedGANError)]


@pytest.mark.parametrize("kind", kinds())
def test_what_was_said_wrong_lasts_unless_it_is_only_the_moment(kind):
    passing = {errors.FedGANError, errors.FederationError, errors.BusyError, errors.FetchError}
    assert errors.lasts(kind("x")) == errors.lasts_by_name(kind.__name__) == (kind not in passing)


@pytest.mark.parametrize("name", ["FederationError", "MemoryError", "ClassVar", "lasts", "", "Any one: DataError"])
def test_other_words_name_no_error_that_lasts(name):
    assert not errors.lasts_by_name(name)


def test_a_defect_and_what_the_system_says_do_not_last():
    assert not errors.lasts(OSError("no route"))
    assert not errors.lasts(ValueError("x"))
