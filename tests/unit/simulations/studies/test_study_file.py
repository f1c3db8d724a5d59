"""Files of studies: the rows, seeds and folds that they mean, and what is refused of them."""

from pathlib import Path

import pytest

from common.errors import ConfigError
from simulations.studies.cells import key_of, read_seeds
from simulations.studies.study_file import read_study

ROWS = "[rows.a]\n[rows.b]\nlocal.steps = 3\n"


@pytest.fixture
def study(tmp_path):
    def read(text, overrides=None, seeds=None):
        (tmp_path / "mine.toml").write_text(text)
        return read_study(tmp_path / "mine.toml", overrides or {}, seeds)

    return read


def test_rows_stand_in_the_order_of_the_file_each_with_each_point_of_the_grid(study, tmp_path):
    found = study(
        'seeds = "0-1"\n[rows.zebra]\n[rows.ant]\nlocal.learning-rate = 1e-4\n'
        '[grid]\nlocal.steps = [1e1, 20]\nalgorithm = ["fedavg", "fedprox mu=0.1"]\n'
    )
    labels = [entry.label for entry in sorted(found.entries, key=lambda entry: entry.rank)]
    assert labels == [
        f"{row}, local.steps={steps} algorithm={algorithm}"
        for row in ("zebra", "ant")
        for steps in (10, 20)
        for algorithm in ("fedavg", "fedprox mu=0.1")
    ]
    cells = found.cells(tmp_path)
    assert (len(cells), {cell.seed for cell in cells}) == (16, {0, 1})
    last = cells[-1].config
    assert (last.local.steps, last.local.learning_rate, last.seed) == (20, 1e-4, 1)
    assert last.algorithm_component.mu == 0.1


def test_a_long_label_is_a_folder_with_a_short_name(study, tmp_path):
    found = study(f"[rows.{'a' * 300}]\n[rows.{'a' * 301}]\n")
    names = {cell.path.parent.name for cell in found.cells(tmp_path)}
    assert (len(names), max(map(len, names))) == (2, 120)


def test_a_preset_in_the_place_of_a_study_is_said_to_be_one():
    with pytest.raises(ConfigError, match="'p1' is a preset: a study is a file of rows that names it"):
        read_study(Path("p1"), {})


def test_a_grid_alone_makes_rows(study):
    assert [entry.label for entry in study("[grid]\nlocal.steps = [1, 2]\n").entries] == [
        "local.steps=1",
        "local.steps=2",
    ]


def test_settings_of_the_command_go_before_those_of_the_file_and_these_before_the_presets(study, tmp_path):
    (tmp_path / "own.toml").write_text("federation.num-clients = 3\nlocal.steps = 7\nlocal.batch-size = 9\n")
    text = f'preset = "own.toml"\nseeds = [4]\n[settings]\nlocal.steps = 8\nlocal.batch-size = 10\n{ROWS}'
    found = study(text, {"local.batch-size": 11}, "5,7-8")
    base = found.base
    assert (base.federation.num_clients, base.local.steps, base.local.batch_size) == (3, 8, 11)
    assert found.seeds == (5, 7, 8)
    assert found.settings == {"local.steps": 8, "local.batch-size": 11}


def test_seeds_are_numbers_and_ranges_with_both_ends():
    assert read_seeds("0-4,7", "--seeds") == [0, 1, 2, 3, 4, 7]
    assert read_seeds(" 3, 1", "--seeds") == [3, 1]
    assert (key_of("seed-3"), key_of("seed-3-fold-2"), key_of("seed-x")) == ((3, 0), (3, 2), None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there are no rows"),
        ("rowz = 1", "there is no key 'rowz'; did you mean 'rows'?"),
        ("local.steps = 3\n" + ROWS, r"local is a setting of a run: write it below \[settings\]"),
        ("seeds = 3\n" + ROWS, 'seeds=3: a list, as \\[3\\], or a text with a range: "0-2"'),
        ("seeds = [0, 0]\n" + ROWS, "each once"),
        ('seeds = "4-2"\n' + ROWS, "ends before it begins"),
        ("folds = 1\n" + ROWS, "folds=1: a whole number from 2 on"),
        ('metrics = ["fdi"]\n' + ROWS, "did you mean 'fid'"),
        ('metrics = "fid"\n' + ROWS, "a list of texts"),
        ('against = "c"\n' + ROWS, "against='c': there is no such row"),
        ("[rows]\na = 3\n", "a row is a table"),
        ("[rows.a]\nlocal.step = 3\n", r"row 'a': .*did you mean 'local.steps'"),
        ("[rows.a]\nseed = 3\n", "seed differs from cell to cell: a study has seeds for it"),
        ("[settings]\noutput.dir = 'x'\n" + ROWS, "a study has --out for it"),
        ("[rows.'a b']\n[rows.'a/b']\n", "would share a folder"),
        ("[rows.'..']\n", "it names a folder"),
        ("[grid]\nlocal.steps = 3\n", "a list of values"),
        ("[rows.a]\nlocal.steps = 3\n[grid]\nlocal.steps = [1, 2]\n", r"stands in row 'a' and in \[grid\]"),
        ("[rows", "is not TOML"),
    ],
)
def test_what_cannot_be_a_study_is_refused_by_its_key_and_value(study, text, words):
    with pytest.raises(ConfigError, match=words):
        study(text)


def test_private_examples_are_not_studied_by_more_than_one_run_that_keeps_them(study, tmp_path):
    private = {"privacy": "example epsilon=10", "local.fake-labels": "uniform"}
    assert len(study(ROWS, private, "0-1").cells(tmp_path)) == 4  # examples of the preset are everybody's
    own = private | {"data.name": "image-folder"}
    with pytest.raises(ConfigError, match="these 4 would spend the epsilon of all of them together"):
        study(ROWS, own, "0-1").cells(tmp_path)
    assert len(study("[rows.a]\n", own, "0").cells(tmp_path)) == 1
