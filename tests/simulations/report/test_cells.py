from __future__ import annotations

from fedward.simulations.report import cells
from fedward.simulations.results import Figure, Interval


def test_a_cell_has_the_rounded_and_the_full_number() -> None:
    assert cells.number(1 / 3) == f'<data value="{1 / 3!r}">0.333</data>'
    assert cells.epsilon(0.9991) == '<data value="0.9991">1.00</data>'
    assert cells.number(None) == cells.epsilon(None) == "-"
    assert cells.interval(Interval(mean=0.5, low=0.25, high=0.75)) == (
        '<data value="0.5">0.500</data> <span class="half">± 0.250</span>'
    )


def test_an_estimate_stands_above_the_exact_figure() -> None:
    known = Figure(value=0.9, low=0.8, high=0.95, full_view=0.91)
    hidden = Figure(value=None, low=None, high=None, full_view=0.91)
    counted = Figure(value=99.6, low=90.2, high=110.0, full_view=101.0)

    assert cells.figure(known, "accuracy") == (
        '<data value="0.9">0.900</data> <span class="half">0.800 to 0.950</span>'
        '<br><span class="half">exact 0.910</span>'
    )
    assert cells.figure(hidden, "accuracy") == '-<br><span class="half">exact 0.910</span>'
    assert ">100<" in cells.figure(counted, "patients")
    assert "90 to 110" in cells.figure(counted, "patients")
    assert cells.figure(None, "accuracy") == "-"
