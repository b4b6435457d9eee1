"""The file of a site's private key: 64 hexadecimal digits that only its owner may read."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NoReturn

from fedward.common.errors import InputError
from fedward.common.secure_sum.signatures import SiteIdentity

_DIGITS = re.compile(rb"[0-9a-f]{64}")
_LONGEST = 128


def read_identity(path: Path) -> SiteIdentity:
    """The identity of a key file.

    Raises:
        InputError: it cannot be read, others may read or change it, or it holds something else.
            What it holds is never quoted.
    """

    def refuse(problem: str, fix: str) -> NoReturn:
        raise InputError(source=str(path), field="", problem=problem, fix=fix) from None

    try:
        # Not blocking, or a pipe of that name would hold everything up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            text = os.read(descriptor, _LONGEST) if stat.S_ISREG(mode) else b""
        finally:
            os.close(descriptor)
    except OSError as error:
        refuse(
            f"cannot be read ({error.strerror})", "name the key file in site.toml: ledger.identity"
        )
    if not stat.S_ISREG(mode):
        refuse("is not a regular file", "name the key file in site.toml: ledger.identity")
    if mode & 0o077:
        refuse(
            f"may be used by others than its owner (mode {stat.S_IMODE(mode):04o}, not 0600)",
            f"run `chmod 600 {path.name}`, or make a new identity if others had access",
        )
    if not _DIGITS.fullmatch(text.strip()):
        refuse("holds no key of 64 hexadecimal digits", "name the file of the site's private key")
    return SiteIdentity.from_private_bytes(bytes.fromhex(text.strip().decode()))
