"""What a card tells of how a generator was trained."""

from types import SimpleNamespace

import pytest

from common.config import RunConfig
from common.examples import ImageSpec
from simulations.export import card


@pytest.mark.parametrize(
    ("transforms", "reported"), [("clip", False), ("clip | noise multiplier=0.1 | compress", True)]
)
def test_noise_is_shown_with_what_it_does_not_promise(transforms, reported):
    run = SimpleNamespace(read_summary=dict, read_partition=lambda: {"clients": []})
    trained = SimpleNamespace(config=RunConfig(transforms=transforms), spec=ImageSpec(1, 28, 10))
    assert ("without an accountant, so it is no (epsilon, delta) guarantee" in card.privacy(run, trained)) == reported
