"""Where an audit's ``--json`` goes."""

from __future__ import annotations

from errno import EISDIR
from pathlib import Path

from fedward.audits.findings import AuditModel
from fedward.common.atomic_files import replace_file
from fedward.common.errors import InputError


def write_json(result: AuditModel, path: Path) -> None:
    """Write a result to the file, whose folders are made; InputError if it cannot be."""
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, (result.model_dump_json(indent=2) + "\n").encode())
    except OSError as error:
        raise InputError(
            source=str(path),
            field="",
            problem=f"cannot be written ({error.strerror})",
            fix="name another file with --json",
        ) from error
