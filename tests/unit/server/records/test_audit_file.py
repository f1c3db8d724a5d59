"""Checks that the scores of an audit stand beside those of a summary of the same networks, and of no others."""

import pytest

from server.records import run_files

SUMMARY = {"rounds": 3, "scores": {"fid": 9.0, "worst-nearest-auc": 0.5}}


@pytest.mark.parametrize(("round", "worst"), [(3, 0.75), (2, 0.5)])
def test_scores_are_those_of_an_audit_of_the_last_round(round, worst):
    audit, problems = run_files.audit({"round": round, "scores": {"worst-nearest-auc": 0.75}, "clients": []})
    assert problems == []
    assert run_files.with_audit(SUMMARY, audit)["scores"] == {"fid": 9.0, "worst-nearest-auc": worst}
    assert run_files.with_audit({}, audit) == {}
    assert run_files.with_audit(SUMMARY, {}) == SUMMARY


def test_what_does_not_fit_is_left_out_and_named():
    assert run_files.audit([])[1] == ["it is no JSON object"]
    audit, problems = run_files.audit({"round": 3, "scores": {"worst-nearest-auc": "high"}})
    assert audit["scores"] == {}
    assert any("worst-nearest-auc" in problem for problem in problems)
