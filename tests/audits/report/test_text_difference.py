from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fedward.audits.report.text_difference import MOST_DIFFERENCES, MOST_LINES, differences

LINES = st.lists(st.text(alphabet="ab01 ", max_size=12), min_size=1, max_size=12).map("\n".join)


@given(LINES, LINES)
def test_there_is_a_difference_exactly_if_texts_differ(one: str, other: str) -> None:
    assert bool(differences(one, other, where="text")) == (one != other)
    assert len(differences(one, other, where="text")) <= MOST_DIFFERENCES


def test_a_changed_number_is_shown_in_its_surroundings() -> None:
    before = f"{'x' * 300} epsilon is 1.00 here {'y' * 300}\nlast"
    (found,) = differences(before.replace("1.00", "0.10"), before, where="page")
    assert found.where == "page, line 1"
    assert "epsilon is 0.10 here" in found.sentence
    assert "epsilon is 1.00 here" in found.sentence
    assert len(found.sentence) < 300


def test_lines_more_and_lines_less_are_told() -> None:
    (more,) = differences("a\nevil\nb", "a\nb", where="page")
    assert (more.where, more.sentence) == ("page, line 2", 'has "evil" where nothing belongs')
    (less,) = differences("a\nb", "a\nwarning\nb", where="page")
    assert less.sentence == 'lacks "warning"'


def test_long_texts_are_compared_in_a_moment_and_the_first_difference_is_told() -> None:
    # Matching all lines of it took minutes.
    lines = ["0.0,"] * 46_000
    more = ["", *lines, "x"]
    found = differences("\n".join(more), "\n".join(lines), where="data")
    assert found[0].where == "data, line 1"
    assert len(found) <= MOST_DIFFERENCES


def test_texts_that_differ_only_beyond_the_matched_lines_differ() -> None:
    block = [f"line {number}" for number in range(MOST_LINES)]
    one, other = ["a", *block, "b"], ["c", *block, "d"]
    assert differences("\n".join(one), "\n".join(other), where="data")[0].where == "data, line 1"
    twice, once = ["a", *block, *block, "a"], ["a", *block, "a"]
    assert differences("\n".join(twice), "\n".join(once), where="data")
