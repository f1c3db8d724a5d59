"""Where ``fedgan`` starts: first it notices whether ``common``, ``client`` or ``server`` are another package's."""

import base64
import hashlib
import sys
from collections.abc import Mapping
from importlib import metadata, util
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
NAMES = ("client", "common", "server", "simulations")

_ADVICE = "install fedgan into an environment of its own (python3 -m venv DIR)"


def main() -> None:
    """Runs the command line; where another package is in its way, says so in one line and exits with 2."""
    recorded = _recorded()
    if problem := elsewhere(TOP) or replaced(TOP, recorded):
        sys.stderr.write(f"error: {problem}\n")
        sys.exit(2)
    if warning := mixed(TOP, recorded):
        sys.stderr.write(f"warning: {warning}\n")
    from simulations.commands import main as command_line

    command_line.main()


def elsewhere(top: Path) -> str:
    """Returns which of fedgan's packages Python would take from another place than ``top``; empty: none."""
    for name in NAMES:
        spec = util.find_spec(name)
        places = [Path(place).resolve() for place in (spec.submodule_search_locations or ())] if spec else []
        if top / name not in places[:1]:
            found = f"is {str(places[0])!r}, of another package" if places else "is of another package"
            return f"the package {name!r} {found}, not fedgan's in {str(top)!r}: take that off PYTHONPATH, or {_ADVICE}"
    return ""


def replaced(top: Path, recorded: Mapping[str, str]) -> str:
    """Returns which of fedgan's packages another has overwritten, as pip does without a word; empty: none.

    Args:
        top: Where they are.
        recorded: What the installation wrote: the file's name below ``top``, and its hash as pip records it.
    """
    for name in NAMES:
        file = f"{name}/__init__.py"
        if file in recorded and (top / file).is_file() and _hash_of(top / file) != recorded[file]:
            return f"another package has replaced {str(top / file)!r}: {_ADVICE}"
    return ""


def mixed(top: Path, recorded: Mapping[str, str]) -> str:
    """Returns which file of another package stands among fedgan's own, where it does no harm yet; empty: none."""
    if not recorded:
        return ""
    for name in NAMES:
        known = {path.split("/")[1] for path in recorded if path.startswith(f"{name}/")} | {"__pycache__"}
        strange = sorted(path.name for path in (top / name).iterdir() if path.name not in known)
        if strange:
            return f"another package has put {strange[0]!r} into {str(top / name)!r}, which is fedgan's: {_ADVICE}"
    return ""


def _recorded() -> dict[str, str]:
    """Returns the files that pip has written for fedgan here, with their hashes; none of a checkout."""
    try:
        found = metadata.distribution("fedgan")
    except metadata.PackageNotFoundError:
        return {}
    files = {str(file): file.hash.value for file in found.files or () if file.hash and file.parts[0] in NAMES}
    return files if Path(str(found.locate_file(""))).resolve() == TOP else {}


def _hash_of(file: Path) -> str:
    digest = hashlib.sha256(file.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


if __name__ == "__main__":
    main()
