"""Replacing a file so that a reader finds the old content or the new, never half of it."""

from __future__ import annotations

from pathlib import Path


def replace_file(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write ``content`` beside ``path``, then put it in its place in one step.

    A kill in between leaves the old file, and a ``.new`` beside it. Nothing is forced to the disk.
    A ``private`` file is its owner's alone (mode 0600), whatever the old one was.
    """
    beside = new_beside(path)
    if private:
        beside.unlink(missing_ok=True)
        beside.touch(mode=0o600, exist_ok=False)
    beside.write_bytes(content)
    beside.replace(path)


def new_beside(path: Path) -> Path:
    """Where :func:`replace_file` writes first; ValueError for a path without a name."""
    return path.with_name(path.name + ".new")
