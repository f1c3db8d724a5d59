"""The space of a search: what its file may say, how it is refused, and what is drawn."""

import pytest

from common.config import RunConfig
from common.errors import ConfigError
from simulations.search.space import read_space, space_of

BASE = RunConfig()


class Fixed:
    """Draws what it is given, else the first of the values; remembers what it drew."""

    def __init__(self, **given):
        self.given, self.drawn = {name.replace("__", "."): value for name, value in given.items()}, []

    def suggest_categorical(self, name, choices):
        return self._one(name, choices[0])

    def suggest_float(self, name, low, high, *, step, log):
        return self._one(name, low)

    def suggest_int(self, name, low, high, *, step, log):
        return self._one(name, low)

    def _one(self, name, otherwise):
        self.drawn.append(name)
        return self.given.get(name, otherwise)


def refused(tables):
    with pytest.raises(ConfigError) as error:
        space_of(tables, "space.toml")
    return str(error.value)


TWO = {"objective": {"hinge": {"r1": {"low": 0.01, "high": 1.0, "log": True}, "r1-every": 4}, "lsgan": {}}}


def test_an_option_is_drawn_where_its_component_is():
    space = space_of(TWO, "space.toml")
    hinge, lsgan = Fixed(objective="hinge"), Fixed(objective="lsgan")
    assert space.draw(hinge, BASE) == {"objective": "hinge r1=0.01 r1-every=4"}
    assert space.draw(lsgan, BASE) == {"objective": "lsgan"}
    assert (hinge.drawn, lsgan.drawn) == (["objective", "objective.hinge.r1"], ["objective"])
    assert [it.name for it in space.parameters()] == ["objective", "objective.hinge.r1"]
    RunConfig().replaced(space.draw(hinge, BASE))


def test_a_setting_is_drawn_where_what_it_depends_on_is_picked():
    spec = {"local": {"adversary-learning-rate": {"low": 1e-4, "high": 1e-2, "when": {"model": ["dcgan", "resnet"]}}}}
    assert list(space_of(spec, "s").draw(Fixed(), BASE)) == ["local.adversary-learning-rate"]
    vae = BASE.replaced({"model": "vae", "objective": "elbo"})
    assert space_of(spec, "s").draw(Fixed(), vae) == {}
    both = spec | {"model": ["dcgan", "mlp width=32"]}
    assert list(space_of(both, "s").draw(Fixed(model="mlp width=32"), BASE)) == ["model"]


def test_numbers_keep_their_type_and_four_digits():
    tables = {"local": {"steps": {"low": 4, "high": 13, "step": 4}, "learning-rate": {"low": 0.001, "high": 1}}}
    space = space_of(tables, "s")
    drawn = space.draw(Fixed(local__steps=8, **{"local__learning-rate": 0.123456}), BASE)
    assert drawn == {"local.steps": 8, "local.learning-rate": 0.1235}
    assert space.settings["local.steps"].last == 12
    assert isinstance(space.settings["local.learning-rate"].high, float)


def test_a_file_is_read(tmp_path):
    file = tmp_path / "space.toml"
    file.write_text('objective = ["hinge r1=0.1", "wgan-gp"]\n[local]\nbatch-size = [16, 32]\nsteps = 5\n')
    space = read_space(file)
    assert space.draw(Fixed(), BASE) == {"objective": "hinge r1=0.1", "local.batch-size": 16, "local.steps": 5}
    assert len(space.parameters()) == 2


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"local": {"lerning-rate": [1]}}, "local.lerning-rate: no such key; did you mean 'local.learning-rate'"),
        ({"objective": {"hinge": {"r1-evry": [1]}}}, "hinge has no option 'r1-evry'; did you mean 'r1-every'?"),
        ({"objective": {"hnige": {}}}, "unknown objective 'hnige'; did you mean 'hinge'?"),
        ({"objective": {"hinge": {"r1": [-1.0, 0.5]}}}, "space.toml: objective.hinge.r1: objective='hinge r1=-1.0'"),
        ({"objective": ["hinge", "wasserstein"]}, "space.toml: objective='wasserstein'"),
        ({"local": {"steps": {"low": 1, "hihg": 5}}}, "local.steps: 'hihg' is no part of what to search"),
        ({"local": {"steps": {"low": 1}}}, "local.steps: high is missing"),
        ({"local": {"steps": {"low": 5, "high": 1}}}, "low=5 is to be below high=1"),
        ({"local": {"steps": {"low": 0.5, "high": 3}}}, "low, high and step are to be whole numbers"),
        ({"local": {"steps": {"low": 0, "high": 3}}}, "local.steps=0"),
        ({"local": {"steps": {"low": "1", "high": 3}}}, "low"),
        ({"local": {"learning-rate": {"low": 0.0, "high": 1.0, "log": True}}}, "log=true: low=0.0 is to be above 0"),
        ({"local": {"learning-rate": {"low": 0.1, "high": 1.0, "log": True, "step": 0.1}}}, "do not go together"),
        ({"local": {"schedule": {"low": 1, "high": 2}}}, "it is no number, so a list of its values is searched"),
        ({"local": {"schedule": ["cosine", "cosnie"]}}, "local.schedule='cosnie'"),
        ({"local": {"steps": [5, True]}}, "True: expected a whole number"),
        ({"local": {"steps": [5, 5]}}, "each value once"),
        ({"local": {"steps": [5, [6]]}}, "[6] is no number, string, true or false"),
        ({"local": [1]}, "local is a section"),
        ({"transforms": {"clip": {"norm": [1.0]}}}, "transforms is a chain: give whole ones"),
        ({"seed": [0, 1]}, "finalists are repeated with other seeds (--seeds)"),
        ({"evaluation": {"num-samples": [10, 20]}}, "evaluation.num-samples is not searched"),
        ({"partition": ["iid", "shards"]}, "partition is not searched: scores on other data"),
        ({"privacy": ["none", "example"]}, "privacy is not searched"),
        ({"local": {"steps": 5}}, "there is nothing to search"),
        ({"local": {"steps": {"values": [1, 2], "when": {"modle": "dcgan"}}}}, "did you mean 'model'?"),
        ({"local": {"steps": {"values": [1, 2], "when": {"model": "dcgna"}}}}, "did you mean 'dcgan'?"),
        ({"local": {"steps": {"values": [1, 2], "when": "dcgan"}}}, "a table of components"),
        ({"objective": {"hinge": {"r1": {"values": [0.1, 0.2], "when": {"model": "vae"}}}}}, "has no when"),
        ({"model": {"values": ["dcgan", "mlp"], "when": {"objective": "hinge"}}}, "it has no when"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_named(tables, words):
    said = refused(tables)
    assert words in said
    assert said.startswith("space.toml: ")
    assert "\n" not in said
