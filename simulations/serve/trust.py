"""What a request may keep the most trusted images by: a run's adversary, a classifier of digits, or nothing."""

from typing import Literal

Trust = Literal["adversary", "classifier"]


def trusts_of(
    *, has_adversary: bool, shape: tuple[int, int, int], holds_digits: bool, conditional: bool
) -> list[Trust]:
    """Returns what ``trust`` may be for a generator; empty where nothing judges its images.

    Args:
        has_adversary: Whether there is a network that the generator was trained against.
        shape: Channels, size in pixels and number of classes.
        holds_digits: Whether the data set is of MNIST's digits.
        conditional: Whether the generator takes labels, with which the classifier compares.
    """
    found: list[Trust] = ["adversary"] if has_adversary else []
    if holds_digits and conditional and shape == (1, 28, 10):
        found.append("classifier")
    return found


def why_not(trust: Trust, others: list[Trust]) -> str:
    """Returns why images cannot be kept by ``trust``, and what to do instead, as a sentence without an end.

    Args:
        trust: What was in the request.
        others: What it may be (``trusts_of``).
    """
    reason = {
        "adversary": "this run has no adversary on the server",
        "classifier": "the classifier knows MNIST's 28x28 digits only, of generators that take labels",
    }[trust]
    ways = [f"take trust={other}" for other in others] + ["leave keep out"]
    return f"trust={trust}: {reason}; {', or '.join(ways)}"
