"""What is done to generated texts afterwards, by hand."""

from simulations.runs.text_processing import first_of_each, in_order, normalised, sentences, word_filter, words


def test_white_space_is_normalised_and_lines_stay():
    assert normalised("  To  be,\t or \r\n not\u00a0to be.  \n\n\n\n That \n") == "To be, or\nnot to be.\n\nThat"
    assert normalised("one\rtwo") == "one\ntwo"
    assert normalised(" \n ") == ""


def test_sentences_and_words():
    text = 'He said "Stop!" and left... Did he? Yes.\n\nNo end'
    assert sentences(text) == ['He said "Stop!"', "and left...", "Did he?", "Yes.", "No end"]
    assert sentences("3.5 is one.") == ["3.5 is one."]
    assert words("Don't go, well-read man!") == ["Don't", "go", ",", "well-read", "man", "!"]


def test_the_filter_takes_whole_words_in_upper_and_lower_case():
    holds = word_filter(["thane", "the  night", "STRASSE", " "])
    assert holds("A THANE.")
    assert holds("the\nnight")
    assert holds("Stra\u00dfe")
    assert holds("thane's")
    assert not holds("thanes")
    assert not holds("the nights")
    assert not holds("bethane")
    assert not holds("night")
    assert holds("in the night.")
    assert word_filter(["caf\u00e9"])("CAFE\u0301")
    assert not word_filter([])("anything")
    assert word_filter(["a.b"])("a.b")
    assert not word_filter(["a.b"])("axb")


def test_equal_texts_and_their_order():
    assert first_of_each(["b", "a", "b", "a", "c"]) == [0, 1, 4]
    assert in_order(["b", "A", "a", "B", "a"]) == [1, 2, 4, 3, 0]
