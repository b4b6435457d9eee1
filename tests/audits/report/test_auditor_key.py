from __future__ import annotations

from pathlib import Path

import pytest

from fedward.audits.report.auditor_key import make_auditor_key, read_auditor_key
from fedward.common.errors import InputError


def test_a_key_that_was_made_is_read_again_and_is_secret(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "auditor.key"
    made = make_auditor_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_auditor_key(path).public_key == made.public_key
    with pytest.raises(InputError, match="cannot be made"):
        make_auditor_key(path)
    assert read_auditor_key(path).public_key == made.public_key


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "auditor.key"
    make_auditor_key(path)
    path.chmod(mode)
    with pytest.raises(InputError, match="chmod 600"):
        read_auditor_key(path)


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "0" * 63, "0" * 65, "0" * 200, "A" * 64])
def test_a_file_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "auditor.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(InputError, match="64 hexadecimal digits") as caught:
        read_auditor_key(path)
    assert not text or text not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.key: cannot be read"):
        read_auditor_key(tmp_path / "no.key")
