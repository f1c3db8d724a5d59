from common.metrics.words import grams, words


def test_words_are_in_lower_case_and_marks_stand_alone():
    assert words("Ay, my lord!\nO'er hills--away") == ["ay", ",", "my", "lord", "!", "o'er", "hills", "-", "-", "away"]
    assert words(" 'Tis 12 ") == ["'", "tis", "12"]
    assert words("Élan, naïve, 愛") == ["élan", ",", "naïve", ",", "愛"]


def test_n_grams_are_equal_where_their_words_are_and_none_goes_over_the_end_of_a_text():
    one, two, three = grams([list("abab"), [], list("ab"), ["c"]], 3)
    assert one.num_different == 3
    assert (two.text.tolist(), two.num_different) == ([0, 0, 0, 2], 2)
    assert two.number[0] == two.number[2] == two.number[3] != two.number[1]
    assert (three.text.tolist(), three.num_different) == ([0, 0], 2)


def test_counts_are_of_each_text():
    *_, two = grams([list("abab"), list("ab")], 2)
    counts = two.counted()
    assert sorted(zip(counts.text.tolist(), counts.count.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 1)]
