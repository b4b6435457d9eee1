from __future__ import annotations

import pytest

from fedward.common.errors import InputError
from fedward.simulations.hospitals.hospital import MOST_SITES, check_site_count


def test_two_and_the_most_are_fine() -> None:
    check_site_count(2, source="x", field="sites")
    check_site_count(MOST_SITES, source="x", field="sites")


@pytest.mark.parametrize(
    ("sites", "sentence"),
    [
        (
            1,
            "command line: --sites gives 1 site, but a federated study needs at least 2; "
            "give it more hospitals.",
        ),
        (
            0,
            "command line: --sites gives 0 sites, but a federated study needs at least 2; "
            "give it more hospitals.",
        ),
        (
            10_001,
            "command line: --sites gives 10001 sites, more than the 10000 that can be simulated; "
            "lower it.",
        ),
    ],
)
def test_others_are_one_sentence(sites: int, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        check_site_count(sites, source="command line", field="--sites")
    assert str(caught.value) == sentence
