"""Replacing a file so that a reader finds the old content or the new, never half of it."""

from __future__ import annotations

from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path``, then put it in its place in one step.

    A kill in between leaves the old file, and a ``.new`` beside it. Nothing is forced to the disk.
    """
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.replace(path)
