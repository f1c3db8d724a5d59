"""What Flower is given to bundle, in a checkout and without one."""

import pytest

from common.errors import ConfigError
from simulations.commands import main
from simulations.deployment import flower_app


def test_a_checkout_is_given_as_it_is():
    with flower_app.flower_app() as folder:
        assert folder == flower_app.TOP


@pytest.mark.parametrize("content", [None, "[project]\nname = 'another'\n", "not TOML"])
def test_a_folder_beside_something_else_is_no_checkout(tmp_path, content):
    if content is not None:
        (tmp_path / "pyproject.toml").write_text(content)
    assert not flower_app.is_checkout(tmp_path)


def test_an_installation_without_settings_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(flower_app, "TOP", tmp_path)
    with pytest.raises(ConfigError, match=r"has no pyproject.toml of fedgan's.*install fedgan from its wheel"):
        flower_app.write_app(tmp_path)


def test_the_command_writes_a_new_folder_alone(tmp_path, capsys):
    target = tmp_path / "app"
    assert main._run(["app", str(target)], debug=False) == 0
    assert sorted(path.name for path in target.iterdir()) == ["client", "common", "pyproject.toml", "server"]
    assert f"flwr run {target}" in capsys.readouterr().out
    assert main._run(["app", str(target)], debug=False) == 2
    assert "is there already" in capsys.readouterr().err
