"""The files for contributors are well-formed, and say what the project's own files say."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages import ROOT

yaml = pytest.importorskip("yaml", reason="PyYAML comes with Flower")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CI = (ROOT / ".ci" / "run").read_text()
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PARTS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def read(name):
    return yaml.safe_load((ROOT / name).read_text())


def test_pre_commit_runs_the_linters_of_ci_and_no_others():
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    hooks = repository["hooks"]
    assert repository["repo"] == "local"
    assert all(hook["language"] == "system" and hook["pass_filenames"] is False for hook in hooks)
    assert [hook["entry"] for hook in hooks] == re.findall(r"^(?:ruff|mypy).*$", CI, re.MULTILINE)


def test_the_workflow_calls_what_ci_runs_on_each_supported_python():
    workflow = read(".github/workflows/ci.yml")
    assert set(workflow) == {"name", True, "permissions", "concurrency", "jobs"}  # YAML 1.1 reads `on` as true
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    pythons = job["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13"]
    assert PROJECT["project"]["requires-python"] == f">={pythons[0]}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_has_what_github_asks_for(path):
    form = yaml.safe_load(path.read_text())
    assert set(form) <= {"name", "description", "title", "labels", "body"}
    assert form["name"]
    assert form["description"]
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 0
    for part in form["body"]:
        assert part["type"] in PARTS
        assert set(part) <= {"type", "id", "attributes", "validations"}
        attributes = part["attributes"]
        assert attributes["value" if part["type"] == "markdown" else "label"]
        assert ("options" in attributes) == (part["type"] in ("dropdown", "checkboxes"))


def test_there_are_forms_for_bugs_and_for_features():
    assert [path.stem for path in FORMS] == ["bug", "feature"]


def test_the_citation_is_of_this_version():
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # which CFF 1.2 requires
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert all(author["name"] for author in citation["authors"])
    ours = PROJECT["project"]
    assert (citation["version"], citation["license"]) == (ours["version"], ours["license"])
    assert citation["keywords"] == ours["keywords"]


def test_every_package_of_the_wheel_says_that_it_is_typed():
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert (ROOT / package / "py.typed").is_file(), package
