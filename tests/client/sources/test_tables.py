from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.client.sources import tables
from fedward.client.sources.tables import TableFormat, column_names, read_table
from fedward.common.errors import InputError


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "site.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path, table_format: TableFormat | None = None, **options: list[str]) -> str:
    with pytest.raises(InputError) as caught:
        read_table(path, table_format, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def rows_of(table: pd.DataFrame) -> list[list[str | None]]:
    return [[None if pd.isna(cell) else cell for cell in row] for row in table.to_numpy()]


def test_a_header_names_the_columns_and_the_index_is_the_line(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, 'a,b\n1,"x, y"\n\n 2 ,\n'))
    assert list(table.columns) == ["a", "b"]
    assert list(table.index) == [2, 4]
    assert table.index.name == "line"
    assert rows_of(table) == [["1", "x, y"], ["2", None]]


def test_given_names_delimiter_missing_tokens_and_mark_of_utf8(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf1;?;NA\r\n-9;2;x\r\n")
    table = read_table(
        path, TableFormat(delimiter=";", columns=("a", "b", "c"), missing=("?", "-9"))
    )
    assert rows_of(table) == [["1", None, "NA"], [None, "2", "x"]]


def test_only_wanted_columns_are_kept_in_the_order_of_the_file(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a,b,c\n1,2,3\n"), wanted=["c", "a"])
    assert list(table.columns) == ["a", "c"]


def test_another_encoding_can_be_named(tmp_path: Path) -> None:
    path = written(tmp_path, "größe\n1\n".encode("latin-1"))
    assert "is not UTF-8" in refused(path)
    assert column_names(path, TableFormat(encoding="latin-1")) == ("größe",)


def test_nothing_is_taken_for_missing_or_a_number_that_is_not_declared(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a\nNA\nnan\nNone\n007\n1e3\n"))
    assert rows_of(table) == [["NA"], ["nan"], ["None"], ["007"], ["1e3"]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty; give a CSV file with a line for each record."),
        (b" \n\n", "is empty; give a CSV file with a line for each record."),
        (b"a,b\n", "holds no records; give it a line for each record."),
        (b"PK\x03\x04\0\0\0", "is no CSV file (it holds binary data); export it as CSV in UTF-8."),
        (b"\xff\xfea\0,\0b\0", "is UTF-16 text; save it as CSV in UTF-8."),
        (b"a,b\n1,\x92\n", "is not UTF-8 text (line 2); save it as UTF-8, or name its"),
        (b"a,a\n1,2\n", "names the column 'a' twice; give each column its own name."),
        (
            b"a,b\n1,2\n3\n",
            "has 1 cells in line 3, but 2 columns; mend that line, or set the delimiter",
        ),
        (b"a,b\n1,2,3\n", "has 3 cells in line 2, but 2 columns; mend that line"),
        (b'a,b\n1,"2\n3,4\n', "is no CSV file (line 2: unexpected end of data); export it as CSV"),
        (b'a,b\n1,"2"x\n', "is no CSV file (line 2: ',' expected after '\"'); export it as CSV"),
        (
            b"a,b\n" + b"x" * 200_000 + b",1\n",
            "is no CSV file (line 2: field larger than field limit (131072)); export it",
        ),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    assert refused(written(tmp_path, content)).startswith(sentence)


def test_binary_data_far_into_the_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, b"a,b\n" + b"1,2\n" * 50_000 + b"1,\0\n")
    assert refused(path).startswith("is no CSV file (line 50002 holds binary data)")


def test_a_column_that_the_data_lack_names_the_near_ones(tmp_path: Path) -> None:
    path = written(tmp_path, "age,sex\n1,2\n")
    assert refused(path, wanted=["agee"]) == (
        "column 'agee' is not in the file; did you mean 'age'."
    )
    assert refused(path, wanted=["cholesterol"]) == (
        "column 'cholesterol' is not in the file; use one of 'age', 'sex'."
    )


def test_a_wrong_delimiter_is_suspected(tmp_path: Path) -> None:
    path = written(tmp_path, "age;sex\n1;2\n")
    assert refused(path, wanted=["age"]).endswith(
        "or set the delimiter: no ',' is in the first line."
    )
    assert refused(path, TableFormat(columns=("age", "sex"))).startswith(
        "has 1 cells in line 1, but 2 columns"
    )


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    path = written(tmp_path, "a\n1\n")
    assert refused(tmp_path) == "is a folder; name a CSV file inside it."
    assert refused(path.with_name("sit.csv")) == "there is no such file; did you mean 'site.csv'."
    assert refused(tmp_path / "x" / "y") == "there is no such file; check the path."


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "a\n1\n")
    monkeypatch.setattr(tables, "MAX_BYTES", 3)
    assert refused(path) == "is larger than 2 GiB; split it, or keep fewer columns."


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12).map(
    str.strip
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_quoted_cells_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"'

    text = "a,b\n" + "".join(f"{quoted(one)},{quoted(other)}\n" for one, other in rows)
    path = written(tmp_path_factory.mktemp("csv"), text)
    kept = [[cell or None for cell in row] for row in rows if any(row)]
    if kept:
        assert rows_of(read_table(path)) == kept
    else:
        assert refused(path).startswith("holds no records")
