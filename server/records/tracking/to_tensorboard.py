"""TensorBoard: event files in the run directory; ``tensorboard --logdir RUN`` shows them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from server.records.tracking.base import Tracked, Tracker


class TensorBoard(Tracker):
    """Event files. Rounds that are done again replace what was written of them."""

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        self._place = run.place
        self._last = run.round
        self._writer: Any = self._open(run.round)
        if not run.round:
            rows = "".join(f"\n| {key} | {value} |" for key, value in run.config.items())
            self._write("configuration", f"| key | value |\n|---|---|{rows}")

    def figures(self, round: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, round)
        self._last = round
        self._writer.flush()

    def picture(self, round: int, path: Path) -> None:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
        layout = "HW" if pixels.ndim == 2 else "HWC"
        self._writer.add_image("samples", pixels, round, dataformats=layout)

    def page(self, round: int, path: Path) -> None:
        self._writer.add_text(
            "samples", path.read_text(encoding="utf-8"), round
        )  # texts are indented: code, in Markdown

    def rewind(self, round: int) -> None:
        self._writer.close()
        self._writer, self._last = self._open(round), round

    def finish(self, scores: Mapping[str, float], ended: bool) -> None:
        if scores:
            rows = "".join(f"\n| {key} | {value:.6g} |" for key, value in scores.items())
            self._write("final scores", f"| score | value |\n|---|---|{rows}")
        self._writer.close()

    def _open(self, round: int) -> Any:
        """Returns a writer that goes on after a round; what there is of later ones is no longer shown."""
        untyped: Any = SummaryWriter
        return untyped(str(self._place), purge_step=round + 1 if round else 0)

    def _write(self, name: str, text: str) -> None:
        self._writer.add_text(name, text, self._last)
