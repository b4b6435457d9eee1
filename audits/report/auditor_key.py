"""The auditor's key: an Ed25519 identity in a file that only its owner may read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from fedward.common.errors import InputError
from fedward.common.secure_sum.signatures import SiteIdentity

_LENGTH: Final = 64
_LONGEST: Final = 128


def read_auditor_key(path: Path) -> SiteIdentity:
    """The identity in a file of 64 hexadecimal digits, mode 0600.

    Raises:
        InputError: it cannot be read, others may read it, or it holds something else.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(_LONGEST + 1).decode("ascii", errors="replace").strip()
    except OSError as error:
        raise InputError(
            source=str(path),
            field="",
            problem=f"cannot be read: {error.strerror}",
            fix="name the auditor's key file, or leave --key out to have one made",
        ) from error
    if mode & 0o077:
        raise InputError(
            source=str(path),
            field="",
            problem="may be read by others than its owner",
            fix=f"run `chmod 600 {path.name}`, or make a new key if others had access",
        )
    if not re.fullmatch(rf"[0-9a-f]{{{_LENGTH}}}", text):
        raise InputError(
            source=str(path),
            field="",
            problem=f"holds no key of {_LENGTH} hexadecimal digits (0-9, a-f)",
            fix="name the file of a private Ed25519 key",
        )
    return SiteIdentity.from_private_bytes(bytes.fromhex(text))


def make_auditor_key(path: Path) -> SiteIdentity:
    """Make a key and write it to ``path``, which must not exist.

    Raises:
        InputError: it exists, or cannot be written.
    """
    identity = SiteIdentity.generate()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(identity.private_bytes().hex() + "\n")
    except OSError as error:
        raise InputError(
            source=str(path),
            field="",
            problem=f"cannot be made: {error.strerror}",
            fix="give the auditor's key with --key",
        ) from error
    return identity
