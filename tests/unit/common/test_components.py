from typing import ClassVar, Literal

import pytest
from pydantic import Field

from common import components
from common.component_tables import TABLES
from common.components import Component
from common.errors import ConfigError

ENTRIES = [(kind, name, cls) for kind, table in TABLES.items() for name, cls in table.items()]


class Toy(Component):
    source: ClassVar[str] = "nowhere"

    rate: float = Field(0.5, gt=0, le=1)
    max_size: int = 3
    mode: Literal["a", "b"] = "a"
    on: bool = False


TABLE = {"toy": Toy, "tab": Toy}


def test_options_are_read_with_their_types():
    toy = components.parse("thing", TABLE, "toy rate=0.25 max-size=7 mode=b on=true")
    assert (toy.rate, toy.max_size, toy.mode, toy.on) == (0.25, 7, "b", True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("toi", ["thing='toi'", "unknown thing 'toi'", "did you mean 'toy'", "toy, tab"]),
        ("", ["toy, tab"]),
        ("toy max_size=7", ["no option 'max_size'", "did you mean 'max-size'"]),
        ("toy rate=2", ["rate='2'", "less than or equal to 1"]),
        ("toy rate=fast", ["rate='fast'", "valid number"]),
        ("toy mode=c", ["mode='c'", "'a' or 'b'"]),
        ("toy rate", ["'rate' is not of the form option=value"]),
        ("toy rate=0.1 rate=0.2", ["'rate' is given twice"]),
        ("toy 'rate=1", ["No closing quotation"]),
    ],
)
def test_a_bad_component_names_the_value_and_the_way_out(text, words):
    with pytest.raises(ConfigError) as caught:
        components.parse("thing", TABLE, text)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(("kind", "name", "cls"), ENTRIES)
def test_every_component_reads_back_what_it_writes(kind, name, cls):
    component = components.parse(kind, TABLES[kind], name)
    assert components.parse(kind, TABLES[kind], component.spec()) == component


@pytest.mark.parametrize(("kind", "name", "cls"), ENTRIES)
def test_every_component_is_named_after_its_file_and_says_what_it_is(kind, name, cls):
    assert cls.component_name() == name
    assert (cls.__doc__ or "").strip()
    assert cls.source, f"{name} names no source"
    for key, field in cls.model_fields.items():
        assert field.description, f"{name}: option {key} has no description"
