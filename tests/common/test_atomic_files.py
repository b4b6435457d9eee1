from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fedward.common.atomic_files import replace_file


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for content in (b"old", b"new and longer", b""):
        replace_file(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    replace_file(path, b"old")

    def full(self: Path, content: bytes) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_private_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    replace_file(path, b"open to all")
    path.chmod(0o644)
    (tmp_path / "state.new").touch(mode=0o644)  # left by a kill

    replace_file(path, b"private", private=True)

    assert path.read_bytes() == b"private"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
