"""Records and what attacks made of them, drawn side by side and written as SVG and PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from fedward.audits.attacks.result import VIEWS, AttackAudit, Reconstruction
from fedward.audits.attacks.table import VIEW_NAMES
from fedward.common.errors import InputError

MOST_VALUES = 30
_SETTINGS: dict[Any, Any] = {"font.size": 8, "svg.hashsalt": "fedward", "text.parse_math": False}


def write_pictures(audit: AttackAudit, folder: Path) -> tuple[Path, ...]:
    """Write ``<attack>-<number>.svg`` and ``.png`` for every record shown; returns the paths.

    Raises InputError if the folder cannot be written to.
    """
    paths: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for attack in audit.attacks:
            for number, record in enumerate(attack.reconstructions, start=1):
                stem = f"{attack.name.replace('_', '-')}-{number}"
                with mpl.rc_context(_SETTINGS):
                    figure = side_by_side(record, title=attack.title)
                    for suffix, metadata in ((".svg", {"Date": None}), (".png", None)):
                        path = folder / f"{stem}{suffix}"
                        figure.savefig(path, dpi=150, metadata=metadata)
                        paths.append(path)
    except OSError as error:
        raise InputError(
            source=str(folder),
            field="",
            problem=f"cannot be written to ({error.strerror})",
            fix="name another folder with --pictures",
        ) from None
    return tuple(paths)


def side_by_side(record: Reconstruction, *, title: str) -> Figure:
    """One record: pictures in a row, or a line for each value with a mark for each view."""
    return _pictures(record, title) if record.picture is not None else _values(record, title)


def _pictures(record: Reconstruction, title: str) -> Figure:
    figure = Figure(figsize=(9, 2.2), layout="constrained")
    figure.suptitle(title)
    low, high = min(record.true), max(record.true)
    panels = {"the record": record.true} | {VIEW_NAMES[v]: record.found[v] for v in VIEWS}
    axes = figure.subplots(1, len(panels))
    for axis, (name, values) in zip(axes, panels.items(), strict=True):
        axis.set_title(name)
        axis.set_xticks([])
        axis.set_yticks([])
        if values is not None:
            pixels = np.array(values).reshape(record.picture)
            axis.imshow(pixels, cmap="gray", vmin=low, vmax=max(high, low + 1e-9))
    return figure


def _values(record: Reconstruction, title: str) -> Figure:
    """How far each value is off, as a share of the true one, at most 100 %."""
    names = record.names[:MOST_VALUES]
    figure = Figure(figsize=(9, 1.2 + 0.18 * len(names)), layout="constrained")
    figure.suptitle(title)
    true = np.array(record.true[: len(names)])
    found = {v: np.array(f[: len(names)]) for v in VIEWS if (f := record.found[v]) is not None}
    axes = figure.subplots(1, max(1, len(found)), sharey=True, squeeze=False)[0]
    places = np.arange(len(names))
    for axis, (view, values) in zip(axes, found.items(), strict=False):
        off = (values - true) / np.where(true == 0, 1.0, np.abs(true))
        axis.set_title(VIEW_NAMES[view])
        axis.axvline(0.0, color="black", linewidth=0.8)
        axis.barh(places, np.clip(off, -1.0, 1.0), height=0.6)
        axis.set_xlim(-1.05, 1.05)
        axis.set_xticks([-1.0, 0.0, 1.0], ["-100 %", "true", "+100 %"])
    axes[0].set_yticks(places, names)
    axes[0].invert_yaxis()
    return figure
