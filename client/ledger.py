"""What a site has released of its own examples, over all runs and restarts, and when it is enough.

The server keeps a ledger of its own (``server/records/privacy_ledger.py``); this one holds whatever the server says.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock

from client.site import Site
from common.errors import PrivacyError
from common.files import append_line, whole_lines
from common.privacy import ExamplePrivacy
from common.privacy.accounting import Mechanism, epsilon
from common.privacy.plan import PrivacyPlan


class SiteLedger:
    """The ledger of one site, a file in its ``state-path``: a line a round that it trained, written before it trains.

    Args:
        site: With data of its own, and a state-path.
    """

    def __init__(self, site: Site) -> None:
        name = hashlib.sha256(site.data.encode()).hexdigest()[:8]  # two SuperNodes may share a state-path
        self._path = Path(site.state_path).expanduser() / f"privacy-{name}.jsonl"
        self._site = site

    @classmethod
    def of(cls, site: Site) -> "SiteLedger | None":
        """Returns the ledger of a site; None where it has no data of its own, or nowhere to keep one."""
        return cls(site) if site.data and site.state_path else None

    def charge(self, run: str, round: int, promise: ExamplePrivacy, plan: PrivacyPlan) -> None:
        """Notes, on disk, that a round is trained, which is another release each time.

        Args:
            run: Identifies the run.
            round: Of it.
            promise: That the run makes.
            plan: What the round does.

        Raises:
            PrivacyError: The run would spend more than it promises, or all runs together more than the site allows; or
                what was spent cannot be read. Nothing is noted.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with filelock.FileLock(f"{self._path}.lock"):
                lines = [*self._lines(), _line(run, round, plan)]
                self._require_rest(lines, run, round, promise, plan)
                append_line(self._path, lines[-1])
        except OSError as error:
            raise PrivacyError(
                f"what the site has spent of its privacy cannot be kept in its state-path ({error.strerror}): it does "
                "not train"
            ) from None

    def _lines(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(row) for row in whole_lines(self._path)]
        except ValueError:
            raise PrivacyError(
                "what the site has spent of its privacy cannot be read, as a file in its state-path is damaged: "
                "it does not train until that file is put back"
            ) from None

    def _require_rest(
        self, lines: list[dict[str, Any]], run: str, round: int, promise: ExamplePrivacy, plan: PrivacyPlan
    ) -> None:
        own = [line for line in lines if line["run"] == run]
        if _differ(own, plan) or len(own) > plan.rounds:
            spent = epsilon(_uses(own), promise.delta)
            if spent > promise.epsilon:
                raise PrivacyError(
                    f"round {round} would bring what the run has spent of the site's examples to epsilon {spent:.3g}, "
                    f"and the run promises {promise.epsilon:g}: the site does not train it"
                )
        limit = self._site.privacy_epsilon
        if limit and (spent := epsilon(_uses(lines), self._site.privacy_delta)) > limit:
            raise PrivacyError(
                f"round {round} would bring what all runs have spent of the site's examples to epsilon {spent:.3g}, "
                f"and privacy-epsilon={limit:g} in its node configuration is all there is: the site does not train it"
            )


def check_promise(site: Site, promise: ExamplePrivacy | None) -> None:
    """Checks that a site may take part in a run at all.

    Raises:
        PrivacyError: The site limits what runs spend of its examples, and the run promises less.
    """
    limit, delta = site.privacy_epsilon, site.privacy_delta
    if not limit:
        return
    if promise is None:
        raise PrivacyError(
            f"the site takes part in private runs only (privacy-epsilon={limit:g} in its node configuration): set "
            f'privacy="example epsilon={limit:g} delta={delta:g}"'
        )
    if promise.epsilon > limit or promise.delta > delta:
        raise PrivacyError(
            f"the run may spend epsilon={promise.epsilon:g} with delta={promise.delta:g}, and the site has "
            f"privacy-epsilon={limit:g} privacy-delta={delta:g} for all runs together: take less"
        )


def _line(run: str, round: int, plan: PrivacyPlan) -> dict[str, Any]:
    return {
        "run": run,
        "round": round,
        "noise-multiplier": plan.own_noise,  # a site does not count on that of others
        "rate": plan.mechanism.rate,
        "uses": plan.uses_per_round,
    }


def _uses(lines: list[dict[str, Any]]) -> Mapping[Mechanism, int]:
    uses: Counter[Mechanism] = Counter()
    for line in lines:
        uses[Mechanism(line["noise-multiplier"], line["rate"])] += line["uses"]
    return uses


def _differ(lines: list[dict[str, Any]], plan: PrivacyPlan) -> bool:
    return any(_line(line["run"], line["round"], plan) != line for line in lines)
