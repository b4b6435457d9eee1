from __future__ import annotations

import math
from typing import Any

import pytest

from fedward.audits.findings import CheckResult
from fedward.audits.report.document import AuditReport
from fedward.audits.report.guarantee import headline_of, promises_of, verdict_of


def changed(body: AuditReport, part: str, **fields: Any) -> AuditReport:
    return body.model_copy(update={part: getattr(body, part).model_copy(update=fields)})


def with_check(body: AuditReport, passed: bool | None) -> AuditReport:
    check = CheckResult(name="more", passed=passed, sentence="One more check.")
    return body.model_copy(update={"checks": (*body.checks, check)})


def test_both_promises_are_those_of_the_worst_site(body: AuditReport) -> None:
    together, alone = promises_of(body)
    accounts = [site.of_study(body.study.digest) for site in body.sites]
    assert together.spent == max(account.epsilon or 0 for account in accounts if account)
    assert alone.spent == max(account.epsilon_alone or 0 for account in accounts if account)
    # Kairouz, Oh, Viswanath 2015: the best balanced guess.
    grown = math.exp(together.spent)
    assert together.bound.guess == pytest.approx((grown + 1e-4) / (grown + 1))
    assert together.whom == "while at most 1 hospital tells the others its secrets"


def test_belief_grows_by_the_odds(body: AuditReport) -> None:
    together, _ = promises_of(body)
    grown = math.exp(together.spent)
    assert together.after(0.5) == pytest.approx(grown / (1 + grown))
    assert together.after(0.1) == pytest.approx(grown / (9 + grown))
    assert 0.1 < together.after(0.1) < together.after(0.5) < 1


def test_the_headline_is_the_guarantee_with_its_condition(body: AuditReport) -> None:
    said = headline_of(body, promises_of(body))
    assert said.startswith("Anyone who saw everything that left these 3 hospitals")
    # e^3 / (e^3 + 1) is .95257, rounded up.
    assert "at most 95.3 % of the time" in said
    assert said.endswith("while at most 1 hospital tells the others its secrets.")


def test_without_masks_the_headline_counts_on_no_one_else(body: AuditReport) -> None:
    bare = changed(body, "run", masked=False)
    said = headline_of(bare, promises_of(bare))
    assert "95.3 %" not in said
    assert "everyone else worked together" in said
    assert "nothing was masked" in promises_of(bare)[0].whom


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"trust": "none"}, "adds all of the noise itself"),
        ({"colluding": 0}, "while no hospital tells"),
        ({"colluding": 3}, "while at most 3 hospitals tell"),
    ],
)
def test_whom_it_holds_against(fields: dict[str, Any], words: str, body: AuditReport) -> None:
    assert words in promises_of(changed(body, "study", **fields))[0].whom


def test_a_seeded_run_promises_nothing(body: AuditReport) -> None:
    seeded = changed(body, "run", insecure_noise_seed=1)
    assert verdict_of(seeded).kind == "bad"
    assert headline_of(seeded, promises_of(seeded)).startswith("No patient is protected")


def test_a_release_without_noise_promises_nothing(body: AuditReport) -> None:
    bare = body.sites[0].model_copy(
        update={
            "accounts": tuple(
                account.model_copy(update={"epsilon": None}) for account in body.sites[0].accounts
            )
        }
    )
    report = body.model_copy(update={"sites": (bare, *body.sites[1:])})
    assert promises_of(report) == ()
    assert headline_of(report, ()).startswith("No guarantee can be given")
    nothing = body.model_copy(update={"sites": ()})
    assert promises_of(nothing) == ()


def test_the_verdict_follows_the_checks(body: AuditReport) -> None:
    count = len(body.all_checks)
    good = verdict_of(body)
    assert (good.kind, good.sentence) == ("good", f"All {count} checks passed.")
    assert verdict_of(with_check(body, None)).kind == "incomplete"
    bad = verdict_of(with_check(with_check(body, None), False))
    assert bad.kind == "bad"
    assert bad.sentence.startswith(f"1 of {count + 2} checks failed")
    assert verdict_of(body.model_copy(update={"checks": (), "empirical": None})).kind == (
        "incomplete"
    )


def test_the_verdict_says_what_was_not_tried(body: AuditReport) -> None:
    bare = body.model_copy(update={"empirical": None, "attacks": None})
    assert "Not part of this report: an empirical audit" in verdict_of(bare).sentence


def test_a_claim_below_its_lower_bound_is_bad(body: AuditReport) -> None:
    assert body.empirical is not None
    claim = body.empirical.claims[0].model_copy(update={"claimed": 0.1})
    broken = changed(body, "empirical", claims=(claim,))
    assert not broken.vouched_for
    verdict = verdict_of(broken)
    assert verdict.kind == "bad"
    assert "did better than the claimed epsilon allows" in verdict.sentence


def test_an_attack_that_worked_is_said_at_the_top(body: AuditReport) -> None:
    assert body.attacks is not None
    worked = body.attacks.attacks[0].model_copy(update={"worked_against_release": True})
    verdict = verdict_of(changed(body, "attacks", attacks=(worked, *body.attacks.attacks[1:])))
    assert verdict.kind == "incomplete"
    assert verdict.sentence.endswith("Trap weights.")


def test_an_attack_that_worked_is_said_even_if_a_check_could_not_be_made(
    body: AuditReport,
) -> None:
    assert body.attacks is not None
    worked = body.attacks.attacks[0].model_copy(update={"worked_against_release": True})
    report = changed(with_check(body, None), "attacks", attacks=(worked,))
    assert report.worked == ("Trap weights",)
    assert "an attack worked" in verdict_of(report).words


def test_a_site_without_a_ledger_is_never_in_order(body: AuditReport) -> None:
    one = body.model_copy(update={"sites": body.sites[:1]})
    # Even if nobody made the check that finds it.
    assert not one.failed
    assert one.without_ledger == ("site-1", "site-2")
    assert not one.vouched_for
    verdict = verdict_of(one)
    assert verdict.kind == "bad"
    assert "No ledger of site-1, site-2 was seen" in verdict.sentence
    said = headline_of(one, promises_of(one))
    assert said.startswith("This page gives no guarantee: it saw the ledger of 1 of 3 hospitals")
    assert "Anyone who saw everything" not in said


def test_where_a_check_failed_the_headline_guarantees_nothing(body: AuditReport) -> None:
    bad = with_check(body, False)
    said = headline_of(bad, promises_of(bad))
    assert said.startswith("This page gives no guarantee")
    assert "If what its books say were true" in said
    assert headline_of(with_check(body, None), promises_of(body)).startswith("Anyone")
