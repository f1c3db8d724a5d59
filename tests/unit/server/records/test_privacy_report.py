"""The report and the cards of a private run say what is proven of it."""

import json

import pytest

from server.records.privacy_accounts import ANY_CLIENT
from server.records.privacy_ledger import PrivacyLedger
from server.records.report import write_report
from server.records.run_directory import RunDirectory
from tests.unit.server.records.test_privacy_ledger import CONFIG, answer


@pytest.mark.parametrize("private", [True, False])
def test_a_report_has_epsilon_of_each_client(tmp_path, private):
    run = RunDirectory(tmp_path)
    run.config.write_text(CONFIG.toml(), encoding="utf-8")
    ledger = PrivacyLedger.begun(run.privacy, CONFIG, {k: answer(k, "seed") for k in (0, 1)})
    ledger.charge(1, 0, {0: "w", 1: "w"})
    said = {"privacy": ledger.summary()} if private else {}
    run.summary.write_text(json.dumps({"rounds": 1, "scores": {}, **said}), encoding="utf-8")
    page = write_report(run).read_text(encoding="utf-8")
    assert ("<h2>Privacy</h2>" in page) == private
    assert (f"<td>1<td>{ledger.spent(1):.3f}<td>1<td>" in page) == private


def test_a_report_says_that_what_is_promised_to_clients_is_spent_of_any_of_them(tmp_path):
    run = RunDirectory(tmp_path)
    config = CONFIG.replaced({"privacy": "client epsilon=8"})
    run.config.write_text(config.toml(), encoding="utf-8")
    ledger = PrivacyLedger.begun(run.privacy, config, {k: answer(k, "seed") for k in (0, 1)})
    ledger.charge(1, 0, {ANY_CLIENT: "w"})
    run.summary.write_text(json.dumps({"rounds": 1, "scores": {}, "privacy": ledger.summary()}), encoding="utf-8")
    page = write_report(run).read_text(encoding="utf-8")
    assert f"<td>any<td>{ledger.largest():.3f}<td>1<td>" in page
