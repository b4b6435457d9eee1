"""A result is written whole, or one sentence says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedward.audits.findings import Finding
from fedward.audits.json_file import write_json
from fedward.common.errors import InputError

RESULT = Finding(severity="info", where="somewhere", sentence="Something was seen.")


def test_a_result_is_read_back_and_its_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"

    write_json(RESULT, path)

    assert Finding.model_validate_json(path.read_bytes()) == RESULT


def test_a_folder_is_refused_in_one_sentence_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    for path in (folder, Path("/")):
        with pytest.raises(InputError, match=r"cannot be written \(is a folder\)"):
            write_json(RESULT, path)
    assert list(tmp_path.iterdir()) == [folder]
