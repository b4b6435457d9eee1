"""Opacus in a process of its own, which imports it while others still read.

A question is a line of JSON with merged events, delta, and their epsilon by PLD; so is each answer,
in the same order, once no more questions come.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.cross_check import OpacusOpinion, opacus_opinion
from fedward.common.privacy.events import GaussianEvent


class OpacusProcess:
    """Begins at once. End it with :meth:`answers`, or with :meth:`kill`."""

    def __init__(self) -> None:
        self._asked = 0
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )

    def ask(self, events: Sequence[GaussianEvent], *, delta: float, epsilon: float) -> None:
        """See :func:`opacus_opinion`; it is answered while the caller goes on."""
        rows = [[event.noise_multiplier, event.sampling_rate, event.count] for event in events]
        self._asked += 1
        with suppress(OSError):  # it died, which its answers will say
            print(json.dumps([rows, delta, epsilon]), file=self._process.stdin, flush=True)

    def answers(self) -> list[OpacusOpinion | PrivacyRefusal] | None:
        """One for each question; None if the process died, for want of memory perhaps."""
        out, _ = self._process.communicate()
        found = [_answer_of(line) for line in out.splitlines()]
        return found if self._process.returncode == 0 and len(found) == self._asked else None

    def kill(self) -> None:
        """End it, whatever was asked."""
        self._process.kill()
        self._process.communicate()


def _answer_of(line: str) -> OpacusOpinion | PrivacyRefusal:
    found = json.loads(line)
    if isinstance(found, str):
        return PrivacyRefusal(found)
    prv_high, rdp = found
    return OpacusOpinion(prv_high=prv_high, rdp=rdp)


def _answer(question: str) -> str:
    rows, delta, epsilon = json.loads(question)
    events = tuple(
        GaussianEvent(noise_multiplier=noise, sampling_rate=rate, count=count)
        for noise, rate, count in rows
    )
    try:
        opinion = opacus_opinion(events, delta=delta, epsilon=epsilon)
    except PrivacyRefusal as refusal:
        return json.dumps(str(refusal))
    return json.dumps([opinion.prv_high, opinion.rdp])


def _serve() -> None:
    # It lives for seconds, a seventh of which would go into looking for garbage.
    gc.disable()
    import_module("opacus.accountants")
    # Answered all at once: the caller reads none before it has asked all.
    answers = [_answer(line) for line in sys.stdin]
    sys.stdout.writelines(f"{answer}\n" for answer in answers)


if __name__ == "__main__":
    _serve()
