"""Cells of a table of text, and how to speak of them in an error: source, column, lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedward.common.errors import InputError
from fedward.common.validation_messages import suggestion

LINES_SHOWN = 3


@dataclass(frozen=True)
class Column:
    """One column of the table: text where present, and a mask of what is missing."""

    field: str
    text: NDArray[np.object_]
    missing: NDArray[np.bool_]

    def distinct(self) -> tuple[list[str], NDArray[np.int64]]:
        """Distinct values of the cells that are present, and each such cell's place among them."""
        places, cells = pd.factorize(self.text[~self.missing])
        merged: dict[str, int] = {}
        codes = [merged.setdefault(str(cell).strip(), len(merged)) for cell in cells]
        return list(merged), np.array(codes, dtype=np.int64)[places]


@dataclass(frozen=True)
class CellReader:
    """A table, and what is needed to speak of its cells."""

    table: pd.DataFrame
    source: str
    rename: Mapping[str, str]

    def column(self, name: str) -> Column:
        """The column of a name of the study; InputError if the table lacks it."""
        local = self.rename.get(name, name)
        field = f"column {local!r}"
        if local not in self.table.columns:
            raise InputError(
                source=self.source,
                field=field,
                problem="is not in the file",
                fix=suggestion(local, map(str, self.table.columns)),
            )
        series = self.table[local]
        text = series.to_numpy(dtype=object)
        return Column(field, text, series.isna().to_numpy(dtype=np.bool_))

    def keeping(self, rows: NDArray[np.bool_]) -> CellReader:
        """The same for these rows alone."""
        return CellReader(self.table.loc[rows], self.source, self.rename)

    def refuse(
        self, column: Column, bad: NDArray[np.bool_], *, problem: str, fix: str
    ) -> InputError:
        """An error about the cells of a column at ``bad``, by the first few lines."""
        places = self.table.index[bad]
        word = str(self.table.index.name or "row")
        shown = ", ".join(str(place) for place in places[:LINES_SHOWN])
        more = len(places) - LINES_SHOWN
        lines = f"{word}{'s' * (len(places) > 1)} {shown}"
        lines += f" and {more} more" if more > 0 else ""
        return InputError(
            source=self.source, field=column.field, problem=f"{problem} ({lines})", fix=fix
        )
