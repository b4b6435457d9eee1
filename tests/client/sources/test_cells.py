from __future__ import annotations

import numpy as np
import pandas as pd

from fedward.client.sources.cells import CellReader


def reader() -> CellReader:
    table = pd.DataFrame({"a": ["x", None, " x", "y"]}, index=pd.Index([2, 3, 5, 8], name="line"))
    return CellReader(table, "a.csv", {"name": "a"})


def test_distinct_values_are_stripped_merged_and_in_order() -> None:
    values, places = reader().column("name").distinct()
    assert values == ["x", "y"]
    assert places.tolist() == [0, 0, 1]


def test_lines_are_named_after_the_index() -> None:
    whole = reader()
    column = whole.column("a")
    some = np.array([True, False, True, False])
    error = whole.refuse(column, some, problem="is wrong", fix="mend it")
    assert str(error) == "a.csv: column 'a' is wrong (lines 2, 5); mend it."
    every = whole.refuse(column, np.ones(4, dtype=bool), problem="is wrong", fix="mend it")
    assert "(lines 2, 3, 5 and 1 more)" in str(every)


def test_keeping_rows_keeps_their_lines() -> None:
    kept = reader().keeping(np.array([False, True, False, True]))
    assert list(kept.table.index) == [3, 8]
    assert kept.column("a").missing.tolist() == [True, False]
