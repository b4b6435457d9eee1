"""What a report says first: whether the guarantee stands, and what it means in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fedward.audits.report.document import AuditReport
from fedward.simulations.report.meaning import Bound, bound_of
from fedward.simulations.report.numbers import percent_at_most

BEFORE: Final = (0.01, 0.1, 0.5)
"""How likely an attacker thinks it at first that a patient took part, for the table."""
NEAR_CERTAINTY: Final = 0.9
"""A share of right guesses from which on the page says that the number protects little."""


_SURPRISE: Final = (
    "an attack did better than the claimed epsilon allows, which a true claim rarely lets happen "
    "(each bound is wrong in at most 5 of 100 audits)"
)


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One epsilon: what was spent of it, and what anyone who has it all can do with that."""

    name: Literal["epsilon", "epsilon_alone"]
    whom: str
    spent: float
    delta: float
    bound: Bound

    @property
    def weak(self) -> bool:
        """Whether the bound leaves an attacker close to certainty."""
        return self.bound.guess >= NEAR_CERTAINTY

    def after(self, before: float) -> float:
        """How likely it can seem afterwards to an attacker who thought it ``before`` likely.

        Bayes' rule with the odds grown by e^epsilon; it may be passed with probability delta.
        """
        odds = before / (1 - before) * self.bound.odds_factor
        return odds / (1 + odds)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the page vouches for the guarantee, in a few words and in a sentence."""

    kind: Literal["good", "incomplete", "bad"]
    words: str
    sentence: str


def verdict_of(report: AuditReport) -> Verdict:
    """What all checks together come to."""
    if report.run.insecure_noise_seed is not None:
        return Verdict(
            kind="bad",
            words="No guarantee",
            sentence="The noise came from a known seed, so anyone can make it again and take it "
            "away. Nothing on this page protects a patient.",
        )
    checks = report.all_checks
    failed = len(report.failed)
    passed = sum(check.passed is True for check in checks)
    claims = report.empirical.claims if report.empirical else ()
    broken = [claim for claim in claims if not claim.holds]
    missing = report.without_ledger
    if failed or broken or missing:
        found = [f"{_of(failed, len(checks))} failed"] if failed else []
        found += [f"no ledger of {', '.join(missing)} was seen"] if missing else []
        found += [_SURPRISE] if broken else []
        return Verdict(
            kind="bad",
            words="Do not rely on this run",
            sentence=f"{_sentence(found)}, so this page cannot vouch for the guarantee.",
        )
    if report.worked:
        return Verdict(
            kind="incomplete",
            words="Nothing wrong was found in the books, but an attack worked",
            sentence=f"{_of(passed, len(checks))} passed and none failed, so the numbers below "
            "hold as far as they were checked; they leave room for an attack on what is released: "
            f"{'; '.join(report.worked)}.",
        )
    left = len(checks) - passed
    if left or not checks:
        return Verdict(
            kind="incomplete",
            words="Nothing wrong was found, but not everything could be checked",
            sentence=f"{_of(passed, len(checks))} passed; "
            + ("the others" if left > 1 else "one")
            + " could not be made, for the reasons given below."
            if checks
            else "There was nothing to check.",
        )
    return Verdict(
        kind="good",
        words="The books are in order",
        sentence=(f"All {passed} checks passed." if passed > 1 else "The one check passed.")
        + _not_tried(report),
    )


def promises_of(report: AuditReport) -> tuple[Promise, ...]:
    """Both epsilons of the study, at the hospital where they are largest.

    Empty if nothing was released for it, or something without noise.
    """
    found = [site.of_study(report.study.digest) for site in report.sites]
    accounts = [account for account in found if account is not None]
    together = [account.epsilon for account in accounts]
    alone = [account.epsilon_alone for account in accounts]
    spent, spent_alone = [e for e in together if e is not None], [e for e in alone if e is not None]
    if not accounts or len(spent) < len(accounts) or len(spent_alone) < len(accounts):
        return ()
    delta = max(account.delta for account in accounts)
    return (
        Promise(
            name="epsilon",
            whom=_while_few(report),
            spent=max(spent),
            delta=delta,
            bound=bound_of(max(spent), delta=delta),
        ),
        Promise(
            name="epsilon_alone",
            whom="even if everyone else worked together against one hospital, whatever computers "
            "they have",
            spent=max(spent_alone),
            delta=delta,
            bound=bound_of(max(spent_alone), delta=delta),
        ),
    )


def headline_of(report: AuditReport, promises: tuple[Promise, ...]) -> str:
    """The guarantee in a sentence that needs no formula."""
    if report.run.insecure_noise_seed is not None:
        return "No patient is protected: the noise of this run can be made again by anyone."
    if not promises:
        return (
            "No guarantee can be given: something left these hospitals without noise, or there is "
            "no record of what did."
        )
    # Without masks the coordinator sees each hospital's own share, whoever cheats.
    promise = promises[1] if report.run.masked is False else promises[0]
    right = percent_at_most(promise.bound.guess)
    if report.without_ledger:
        return (
            f"This page gives no guarantee: it saw {_ledgers(len(report.sites))} of "
            f"{len(report.run.sites)} hospitals, and nobody knows from it what left the others. As "
            f"far as {'that ledger tells' if len(report.sites) == 1 else 'those ledgers tell'}, a "
            f"guess whether a given patient took part would be right at most {right} of the time, "
            f"{promise.whom}."
        )
    if not report.vouched_for:
        return (
            "This page gives no guarantee, because something is wrong with this run. If what its "
            "books say were true, a guess whether a given patient took part would be right at most "
            f"{right} of the time, {promise.whom}."
        )
    return (
        f"Anyone who saw everything that left {_these(len(report.sites))}, and knew all else there "
        "is to know, can guess whether a given patient took part and be right at most "
        f"{right} of the time. Tossing a coin is right 50 %. This holds {promise.whom}."
    )


def _not_tried(report: AuditReport) -> str:
    missing = [] if report.empirical else ["an empirical audit of the training"]
    missing += [] if report.attacks else ["attacks"]
    return f" Not part of this report: {' and '.join(missing)}." if missing else ""


def _while_few(report: AuditReport) -> str:
    study = report.study
    if report.run.masked is False:
        return "for whoever sees only the sums, because nothing was masked in this run"
    if study.trust == "none":
        return "whoever cheats, because each hospital adds all of the noise itself"
    if study.colluding == 0:
        return "while no hospital tells its secrets"
    some = "1 hospital tells" if study.colluding == 1 else f"{study.colluding} hospitals tell"
    return f"while at most {some} the others its secrets"


def _these(count: int) -> str:
    return f"these {count} hospitals" if count > 1 else "this hospital"


def _ledgers(count: int) -> str:
    return f"the ledger{'' if count == 1 else 's'} of {count}"


def _sentence(parts: Sequence[str]) -> str:
    said = " and ".join(parts)
    return said[:1].upper() + said[1:]


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole} checks"
