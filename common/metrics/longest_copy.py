"""The longest run of characters that generated texts have in common with other texts."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.charts import Chart
from common.metrics.base import Metric, Names, Score, Scores

COPIES = Chart("longest-copy", "Longest copy", "Characters of the longest run in common with training text.")


class Runs:
    """All runs of characters of some texts: a suffix automaton, which another text is followed through in linear time.

    Blumer et al. 1985 (The smallest automaton recognizing the subwords of a text). States are numbers, 0 the empty run.

    Args:
        texts: Any. No run goes over the end of one.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._next: list[dict[str | None, int]] = [{}]
        self._shorter, self._length = [-1], [0]
        last = 0
        for text in texts:
            for character in (*text, None):
                last = self._grow(last, character)

    def _grow(self, last: int, character: str | None) -> int:
        """Returns the state of the whole text so far, which is longer by a character, or by the mark of an end."""
        new = self._add({}, 0, self._length[last] + 1)
        while last >= 0 and character not in self._next[last]:
            self._next[last][character] = new
            last = self._shorter[last]
        if last < 0:
            return new
        found = self._next[last][character]
        if self._length[found] != self._length[last] + 1:  # it stands for longer runs too, which go on differently now
            copy = self._add(dict(self._next[found]), self._shorter[found], self._length[last] + 1)
            while last >= 0 and self._next[last].get(character) == found:
                self._next[last][character] = copy
                last = self._shorter[last]
            self._shorter[found] = copy
            found = copy
        self._shorter[new] = found
        return new

    def _add(self, following: dict[str | None, int], shorter: int, length: int) -> int:
        self._next.append(following)
        self._shorter.append(shorter)
        self._length.append(length)
        return len(self._next) - 1

    def longest_in(self, texts: Sequence[str]) -> int:
        """Returns the length of the longest run that stands in one of the texts too."""
        most = 0
        for text in texts:
            state = length = 0
            for character in text:
                while state and character not in self._next[state]:
                    state = self._shorter[state]
                    length = self._length[state]
                if character in self._next[state]:
                    state, length = self._next[state][character], length + 1
                    most = max(most, length)
        return most


def copy_scores(trained: Sequence[int | None], held_out: Sequence[int | None]) -> Scores:
    """Returns the scores of what clients tell; empty if none tells anything.

    Args:
        trained: The longest run of characters copied from each client's training text, by partition; None where it is
            unknown.
        held_out: The same of as much held-out text, which no model can have copied.
    """
    known = [(length, -partition) for partition, length in enumerate(trained) if length is not None]
    if not known:
        return {}
    length, partition = max(known)
    others = [other for other in held_out if other is not None]
    return {
        "longest-copy": float(length),
        "longest-copy-held-out": float(max(others)),
        "client-longest-copy": [None if one is None else float(one) for one in trained],
        "client-longest-copy-held-out": [None if one is None else float(one) for one in held_out],
        "most-copied": -partition,
    }


def _copied(scores: Mapping[str, Any], names: Names) -> list[str]:
    if not {"longest-copy", "longest-copy-held-out", "most-copied"} <= scores.keys():
        return []
    return [
        f"The longest run that samples have in common with training text has {scores['longest-copy']:.0f} characters, "
        f"of client {names.of_client(scores['most-copied'])}; with as much held-out text, "
        f"{scores['longest-copy-held-out']:.0f}."
    ]


LONGEST_COPY = Metric(
    "longest-copy",
    (
        Score(
            "longest-copy",
            "longest copy",
            "characters of the longest run that samples have in common with a client's training text",
            "lower",
            chart=COPIES,
            decimals=0,
        ),
        Score(
            "longest-copy-held-out",
            "longest copy, held-out",
            "the same with as much held-out text of the client's: what is in common by chance",
            chart=COPIES,
            decimals=0,
        ),
        Score(
            "client-longest-copy",
            "longest copy",
            "characters of the longest run in common with each client's training text",
            "lower",
            "figures",
            "client",
            heading="Longest copy of each client's training text",
        ),
        Score(
            "client-longest-copy-held-out",
            "longest copy, held-out",
            "characters of the longest run in common with each client's held-out text",
            form="figures",
            of="client",
            heading="Longest run in common with each client's held-out text",
        ),
        Score(
            "most-copied",
            "most copied client",
            "the client of the longest copied run",
            form="number",
            of="client",
            figure="longest-copy",
        ),
    ),
    needs=frozenset({"clients"}),
    kinds=frozenset({"text"}),
    weak_spots=_copied,
)
