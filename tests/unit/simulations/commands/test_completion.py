"""What a shell is told when a user types a tab."""

import pytest

from simulations.commands import completion, main


def fedgan(*arguments, capsys):
    code = main._run(list(arguments), debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_script_for_each_shell_asks_this_program(shell, capsys):
    code, out, err = fedgan("completion", shell, capsys=capsys)
    assert (code, err) == (0, "")
    assert completion.VARIABLE in out
    assert "fedgan" in out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("fedgan simu", ["simulate"]), ("fedgan simulate shak", ["shakespeare"]), ("fedgan runs del", ["delete"])],
)
def test_commands_and_presets_are_completed(typed, offered, capsys, monkeypatch):
    monkeypatch.setenv(completion.VARIABLE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    with pytest.raises(SystemExit) as ended:
        main._run([], debug=False)
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == offered


def test_it_is_installed_where_the_shell_looks(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    code, out, _ = fedgan("completion", "fish", "--install", capsys=capsys)
    assert code == 0
    (script,) = tmp_path.rglob("*.fish")
    assert str(script) in out


def test_a_shell_that_is_none(capsys):
    code, _, err = fedgan("completion", "bahs", capsys=capsys)
    assert (code, "did you mean 'bash'?" in err) == (2, True)
