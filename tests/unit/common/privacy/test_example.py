"""What a promise of privacy of examples has a client do."""

import pytest

from common.privacy.example import ExamplePrivacy

pytest.importorskip("dp_accounting", reason="extra privacy")


@pytest.mark.parametrize(("mechanism", "rounds"), [("steps", 3), ("sums", 1)])
def test_spare_rounds_are_in_the_budget_and_no_more_of_them(mechanism, rounds):
    for spare in (0, 2):
        plan = ExamplePrivacy(epsilon=2.0, spare_rounds=spare).plan(mechanism, 100, 20, 5, 3)
        assert plan.rounds == rounds + spare
        assert 1.99 <= plan.spent(plan.rounds) <= 2.0 < plan.spent(plan.rounds + 1)
