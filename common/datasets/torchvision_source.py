"""What sources share whose files torchvision downloads: which are there, which are missing, how they are fetched."""

import contextlib
import logging
import os
import sys
import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from common.datasets.base import DataSource
from common.errors import DataError, FetchError

log = logging.getLogger("fedgan.data")


class TorchvisionSource(DataSource):
    """Base of the sources in files that lie where torchvision puts them below ``data.root``, which may be read-only."""

    files: ClassVar[tuple[str, ...]]
    below_root: ClassVar[str]
    """The folder of the files, as seen from ``data.root``."""

    @abstractmethod
    def archive(self) -> Any:
        """Returns the torchvision class that downloads the files (imported only here, for its import is slow)."""

    def folder_in(self, root: Path) -> Path:
        """Returns the folder of the files: ``below_root``, or another one that has all of them."""
        return root / self.below_root

    def missing(self, root: Path) -> list[str]:
        """Returns the names of the files that ``root`` lacks."""
        return [file for file in self.files if not (self.folder_in(root) / file).is_file()]

    def status(self, root: Path | None) -> str:
        """Returns which files are in ``root`` and which are missing; see ``DataSource.status``."""
        place = self.located(root)
        if missing := self.missing(place):
            return f"missing in {self.folder_in(place)}: {', '.join(missing)} (downloaded on first use)"
        return f"there, not checked: {self.folder_in(place)}"

    def obtain(self, root: Path, download: bool) -> Path:
        """Returns the folder with all files, fetching them if some are missing.

        Raises:
            DataError: Some are, and they may not or cannot be fetched.
        """
        missing = self.missing(root)
        if not missing:
            return self.folder_in(root)
        kind, reason = DataError, "downloading is switched off"
        if root.exists() and not root.is_dir():
            reason = f"{root} is no folder"
        elif download:
            try:
                return self._download(root)
            except (OSError, RuntimeError) as error:
                kind, reason = FetchError, f"the download failed: {' '.join(str(error).split())}"
        raise kind(
            f"data {self.component_name()!r}: {self.folder_in(root)} lacks {', '.join(missing)}, and {reason}."
            " Put these files there, or set data.root to the folder that holds"
            f" {self.below_root}, or use the embedded images, which need no download: data.name=mnist-10k"
        )

    def _download(self, root: Path) -> Path:
        folder = root / self.below_root
        log.info("downloading %s into %s", self.component_name(), folder)
        root.mkdir(parents=True, exist_ok=True)
        # Into a folder aside, then file by file into place: of processes that start together, none reads a torn file.
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as aside:
            with contextlib.redirect_stdout(sys.stderr):  # torchvision prints its progress
                self.archive()(aside, download=True)
            folder.mkdir(parents=True, exist_ok=True)
            for file in self.files:
                os.replace(self.folder_in(Path(aside)) / file, folder / file)
        return folder
