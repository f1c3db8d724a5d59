from common.journal_lines import figure_of, figures_of

CLIENT = {"partition": 2, "num-examples": 5, "site": "north", "drift": 0.5, "own-loss": 3, "x": float("inf")}


def test_figures_of_a_client_are_what_is_no_name_or_number_of_it():
    assert figures_of(CLIENT) == {"drift": 0.5, "own-loss": 3, "x": float("inf")}


def test_a_figure_that_a_client_has_not_is_none():
    assert figure_of(CLIENT, "own-loss") == 3
    assert figure_of(CLIENT, "other-loss") is None
    assert figure_of(CLIENT, "site") is None
