"""Weights & Biases. Without a key it writes to the run directory, for ``wandb sync``; the usual variables apply."""

import html
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from server.records.tracking.base import Tracked, Tracker


class WeightsAndBiases(Tracker):
    """A run of the project ``WANDB_PROJECT``, by default ``fedgan``; over the figure ``round``.

    It keeps what it was sent: a round that is done again is there twice, and the later one counts.
    """

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        mode = _mode()
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "fedgan"),
            name=os.environ.get("WANDB_NAME", run.name),
            id=self.identity or None,
            resume="allow" if self.identity else None,
            mode=mode,
            dir=str(run.place),
            config=dict(run.config),
            reinit="create_new",  # a process may train several runs
            settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
        )
        self.identity = str(self._run.id)
        if mode == "online":
            self.where = str(self._run.url)
        self._run.define_metric("round")
        self._run.define_metric("*", step_metric="round")

    def figures(self, round: int, values: Mapping[str, float]) -> None:
        self._run.log({"round": round, **values})

    def picture(self, round: int, path: Path) -> None:
        self._run.log({"round": round, "samples": wandb.Image(str(path))})

    def page(self, round: int, path: Path) -> None:
        text = html.escape(path.read_text(encoding="utf-8"))
        self._run.log({"round": round, "samples": wandb.Html(f"<pre>{text}</pre>")})

    def finish(self, scores: Mapping[str, float], ended: bool) -> None:
        self._run.summary.update({f"final/{key}": value for key, value in scores.items()})
        self._run.finish(exit_code=0 if ended else 1)


def _mode() -> Any:
    """Returns ``WANDB_MODE``; without it, online where there is a key, as wandb would else ask for one and wait."""
    known = os.environ.get("WANDB_MODE")
    return known or ("online" if wandb.login(prompt=False) else "offline")
