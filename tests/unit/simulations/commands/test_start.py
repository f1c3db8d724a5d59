"""Before anything else: whether another package's ``common``, ``client`` or ``server`` is in fedgan's way."""

import subprocess
import sys
from pathlib import Path

import pytest

from simulations.commands import start


@pytest.fixture
def site(tmp_path):
    """Returns a folder with four packages, and what pip would have recorded of it."""
    for name in start.NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f'"""fedgan\'s {name}."""\n')
    recorded = {f"{name}/__init__.py": start._hash_of(tmp_path / name / "__init__.py") for name in start.NAMES}
    return tmp_path, recorded


def test_nothing_is_said_where_all_is_as_it_was_installed(site):
    assert start.elsewhere(start.TOP) == ""
    assert start.replaced(*site) == ""
    assert start.mixed(*site) == ""
    assert start.mixed(site[0], {}) == ""  # a checkout has no record


def test_a_package_from_elsewhere_is_named_with_both_places(tmp_path, monkeypatch):
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "server")
    monkeypatch.syspath_prepend(tmp_path)
    said = start.elsewhere(start.TOP)
    assert said.startswith(f"the package 'server' is {str(tmp_path / 'server')!r}, of another package, not fedgan's in")
    assert "environment of its own" in said


def test_a_package_that_another_has_overwritten_is_named(site):
    place, recorded = site
    (place / "common" / "__init__.py").write_text("")
    assert start.replaced(place, recorded).startswith(
        f"another package has replaced {str(place / 'common' / '__init__.py')!r}"
    )


def test_a_file_of_another_package_among_fedgans_own_is_named(site):
    place, recorded = site
    (place / "client" / "__pycache__").mkdir()
    assert start.mixed(place, recorded) == ""
    (place / "client" / "requests.py").touch()
    assert start.mixed(place, recorded).startswith(
        f"another package has put 'requests.py' into {str(place / 'client')!r}"
    )


def test_the_command_ends_with_one_line_and_2(tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from simulations.commands import start; start.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=start.TOP, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: the package 'common' is {str(tmp_path / 'common')!r}, of another package")
    assert done.stderr.count("\n") == 1


def test_the_project_starts_there():
    assert 'fedgan = "simulations.commands.start:main"' in (Path(start.TOP) / "pyproject.toml").read_text()
