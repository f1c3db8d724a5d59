import itertools
import tomllib
from pathlib import Path

import pytest

from common.config import RunConfig
from common.config_values import flatten
from common.errors import ConfigError

ROOT = Path(__file__).parents[3]
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def test_pyproject_lists_every_key_with_its_default():
    listed = flatten(tomllib.loads(PYPROJECT)["tool"]["flwr"]["app"]["config"])
    assert list(listed) == list(RunConfig.keys())
    assert RunConfig.from_flat(listed) == RunConfig()


def test_pyproject_has_a_comment_on_every_key():
    section = PYPROJECT.partition("[tool.flwr.app.config]")[2].partition("[tool.ruff]")[0]
    lines = section.splitlines()
    for previous, line in itertools.pairwise(lines):
        if " = " in line and not line.startswith("#"):
            assert previous.startswith("# "), f"no comment above {line!r}"


def test_every_preset_is_valid():
    presets = sorted((ROOT / "simulations" / "presets").glob("*.toml"))
    assert presets
    for preset in presets:
        RunConfig.from_flat(flatten(tomllib.loads(preset.read_text())))


def test_flat_and_toml_read_back():
    config = RunConfig.from_flat({"seed": 3, "local.steps": 7, "objective": "hinge r1=0.5"})
    assert RunConfig.from_flat(config.flat()) == config
    assert RunConfig.from_flat(flatten(tomllib.loads(config.toml()))) == config


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("local.step", 3, ["local.step=3", "no such key", "did you mean 'local.steps'"]),
        ("local.steps", 0, ["local.steps=0", "greater than or equal to 1"]),
        ("local.steps", "many", ["local.steps='many'", "a whole number"]),
        ("local.steps", "3", ["local.steps='3'", "a whole number"]),
        ("local.steps", True, ["local.steps=True", "a whole number"]),
        ("local.steps", 2.5, ["local.steps=2.5", "a whole number"]),
        ("local.steps", 2.0, ["local.steps=2.0", "a whole number"]),
        ("federation.fraction", "0.5", ["federation.fraction='0.5'", "a number"]),
        ("federation.fraction", True, ["federation.fraction=True", "a number"]),
        ("local.mixed-precision", "true", ["local.mixed-precision='true'", "true or false"]),
        ("model", 3, ["model=3", "a string"]),
        ("data.root", 3, ["data.root=3", "a string"]),
        ("local.mixed-precision", 1, ["local.mixed-precision=1", "true or false"]),
        ("federation.fraction", 1.5, ["federation.fraction=1.5", "less than or equal to 1"]),
        ("local.learning-rate", float("nan"), ["local.learning-rate=nan"]),
        ("objective", "hinj", ["objective='hinj'", "did you mean 'hinge'"]),
        ("partition", "dirichlet alpha=-1", ["alpha='-1'", "greater than 0"]),
        ("data.name", "mnits", ["data.name='mnits'", "did you mean 'mnist'"]),
        ("seed", -1, ["seed=-1"]),
        ("seed", [1], ["seed=[1]", "a number, a string"]),
    ],
)
def test_a_bad_value_is_one_line_with_key_value_and_what_is_allowed(key, value, words):
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_flat({key: value})
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_whole_number_is_a_number():
    assert RunConfig.from_flat({"federation.fraction": 1}).federation.fraction == 1.0


def test_patience_needs_scores_between_the_first_round_and_the_last():
    with pytest.raises(ConfigError, match=r"federation.patience=3 .* evaluation.every=0"):
        RunConfig.from_flat({"federation.patience": 3, "evaluation.every": 0})
    config = RunConfig.from_flat({"federation.patience": 3})
    assert config.identity() == RunConfig().identity()  # it says when a run ends, not what its rounds are


def test_identity_ignores_what_does_not_change_the_weights_and_nothing_else():
    config = RunConfig().replaced({"local.schedule": "constant"})
    same = config.replaced({"output.dir": "/x", "evaluation.every": 1, "federation.num-rounds": 99})
    assert same.identity() == config.identity()
    for key, value in {
        "seed": 1,
        "local.steps": 1,
        "model": "mlp",
        "federation.fraction": 0.5,
        "evaluation.holdout": 0.1,
    }.items():
        assert config.replaced({key: value}).identity() != config.identity()


def test_a_rate_of_the_adversary_is_refused_for_a_model_without_one():
    variational = {"objective": "elbo", "model": "vae"}
    words = "local.adversary-learning-rate=0.002: model='vae' has no adversary; set local.learning-rate"
    with pytest.raises(ConfigError) as refused:
        RunConfig.from_flat({**variational, "local.adversary-learning-rate": 2e-3})
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    default = RunConfig().local.adversary_learning_rate
    assert RunConfig.from_flat({**variational, "local.adversary-learning-rate": default}).local == RunConfig().local
    assert RunConfig.from_flat({"local.adversary-learning-rate": 2e-3}).local.adversary_learning_rate == 2e-3
