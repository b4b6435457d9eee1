from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedward.client.site.identity_file import read_identity
from fedward.common.errors import InputError
from fedward.common.secure_sum.signatures import SiteIdentity


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "identity.key"
    path.write_text(SiteIdentity.generate().private_bytes().hex() + "\n")
    path.chmod(0o600)
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_identity(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_key_is_that_of_the_file(key: Path) -> None:
    assert read_identity(key).private_bytes().hex() == key.read_text().strip()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_may_use_is_refused(key: Path, mode: int) -> None:
    key.chmod(mode)

    assert f"(mode {mode:04o}, not 0600); run `chmod 600 identity.key`" in refused(key)


@pytest.mark.parametrize(
    "change", [lambda k: k[:-1], lambda k: k + "0" * 1000, lambda k: k[:-1] + "G"]
)
def test_what_is_no_key_is_refused_and_never_quoted(key: Path, change: object) -> None:
    secret = key.read_text().strip()
    assert callable(change)
    key.write_text(change(secret))

    problem = refused(key)

    assert "holds no key of 64 hexadecimal digits" in problem
    assert secret[:16] not in problem


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    assert "cannot be read" in refused(tmp_path / "absent")
    assert "is not a regular file" in refused(tmp_path)
    assert "is not a regular file" in refused(tmp_path / "pipe")
