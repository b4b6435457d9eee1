from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from fedward.client.site.budget_table import notes_on
from fedward.client.site.statement import CohortStatement, Statement, statement_of
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.common.errors import InputError
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.cohort_spending import cohort_accounting_delta
from fedward.common.privacy.events import GaussianEvent
from fedward.common.secure_sum.signatures import SiteIdentity

from .conftest import CARDIOLOGY, HOSPITAL, NAME, RELEASE, SiteOnDisk


def read(site: SiteOnDisk) -> Statement:
    return statement_of(site.ledger_file, site=NAME, identity_key=site.identity.public_key)


def of(statement: Statement, name: str) -> CohortStatement:
    return next(cohort for cohort in statement.cohorts if cohort.cohort == name)


def epsilon(noise: float, count: int, delta: float) -> float:
    events = [GaussianEvent(noise_multiplier=noise, count=count)]
    return epsilon_of(events, delta=cohort_accounting_delta(delta))


def test_spent_reserved_and_left_make_up_the_cap(site: SiteOnDisk) -> None:
    cardiology = of(read(site), "cardiology")

    # Five releases were committed or given up, a sixth is open.
    assert cardiology.spent.epsilon == epsilon(20.0, 5, 1e-5)
    assert cardiology.spent.epsilon_alone == epsilon(10.0, 5, 1e-5)
    for key, cap, noise in (("epsilon", 2.0, 20.0), ("epsilon_alone", 8.0, 10.0)):
        spent, reserved, left, used = (
            getattr(figures, key)
            for figures in (
                cardiology.spent,
                cardiology.reserved,
                cardiology.left,
                cardiology.used,
            )
        )
        assert reserved > 0
        assert spent + reserved == pytest.approx(epsilon(noise, 6, 1e-5), abs=1e-9)
        assert spent + reserved + left == pytest.approx(cap, abs=1e-9)
        assert used == pytest.approx(1 - left / cap)


def test_both_cohorts_are_charged_and_say_with_whom_they_share(site: SiteOnDisk) -> None:
    statement = read(site)
    cardiology, hospital = of(statement, "cardiology"), of(statement, "hospital")

    assert cardiology.spent == hospital.spent
    assert cardiology.shares_patients_with == ("hospital",)
    assert hospital.shares_patients_with == ("cardiology",)
    assert hospital.caps.epsilon_alone is None
    assert hospital.left.epsilon_alone is None
    assert hospital.used.epsilon_alone is None
    assert hospital.spent.epsilon_alone is not None


def test_studies_are_told_apart_each_at_its_own_delta(site: SiteOnDisk) -> None:
    strokes, sepsis = of(read(site), "hospital").studies

    assert (strokes.study_name, strokes.study_digest) == ("strokes", "a" * 64)
    assert (strokes.releases, strokes.not_committed) == (3, 0)
    assert strokes.spent.epsilon == epsilon(20.0, 3, 1e-6)
    assert (sepsis.study_name, sepsis.releases, sepsis.not_committed) == ("sepsis", 3, 1)
    assert sepsis.spent.epsilon == epsilon(20.0, 3, 1e-5)
    assert strokes.first < strokes.last < sepsis.first < sepsis.last


def test_what_became_of_releases_is_counted_and_told(site: SiteOnDisk) -> None:
    statement = read(site)

    assert (statement.open_releases, statement.abandoned, statement.seconds_behind) == (1, 1, 0)
    notes = " ".join(notes_on(statement))
    assert "One reservation was never committed" in notes
    assert "One release was given up" in notes
    assert "clock" not in notes


def test_a_clock_that_went_back_is_told(site: SiteOnDisk) -> None:
    site.clock.now -= timedelta(hours=2)
    ledger = site.opened()
    site.charge(ledger, [replace(RELEASE, round=9)])
    ledger.close()

    statement = read(site)

    assert 7000 < statement.seconds_behind < 7200
    assert any("clock went back" in note for note in notes_on(statement))


def test_it_is_read_while_a_vault_has_the_ledger(site: SiteOnDisk) -> None:
    ledger = site.opened()
    try:
        site.charge(ledger, [replace(RELEASE, round=9)])

        assert of(read(site), "cardiology").studies[0].releases == 4
    finally:
        ledger.close()


def test_a_held_out_patient_is_no_training_patient(site: SiteOnDisk) -> None:
    before = of(read(site), "cardiology").spent.epsilon
    ledger = site.opened()
    site.charge(ledger, [replace(RELEASE, round=9, kind="evaluation")])
    ledger.close()

    statement = of(read(site), "cardiology")
    assert statement.studies[0].releases == 4
    assert statement.spent.epsilon == before


def test_a_release_without_noise_has_no_epsilon(site: SiteOnDisk) -> None:
    ledger = site.opened()
    site.charge(ledger, [replace(RELEASE, round=9, event=None, event_alone=None)])
    ledger.close()

    statement = read(site)

    cardiology = of(statement, "cardiology")
    assert cardiology.spent.epsilon is cardiology.left.epsilon is cardiology.used.epsilon is None
    assert any("without noise" in note for note in notes_on(statement))


def test_a_ledger_without_releases_has_everything_left(
    new_site: Callable[[], SiteOnDisk],
) -> None:
    site = new_site()
    site.opened(CARDIOLOGY, replace(HOSPITAL, epsilon_cap=0.0)).close()

    statement = read(site)

    assert of(statement, "cardiology").left.epsilon == 2.0
    assert of(statement, "cardiology").used.epsilon == 0.0
    assert of(statement, "cardiology").studies == ()
    assert of(statement, "hospital").used.epsilon == 1.0
    assert list(notes_on(statement)) == ["Cohort hospital has nothing left (epsilon)."]


def test_a_cohort_that_was_given_no_budget_is_shown(new_site: Callable[[], SiteOnDisk]) -> None:
    site = new_site()
    ledger = site.opened()
    site.charge(ledger, [replace(RELEASE, cohorts=("patients",))])
    ledger.close()

    patients = of(read(site), "patients")

    assert patients.caps.epsilon is patients.left.epsilon is None
    assert patients.spent.epsilon == epsilon(20.0, 1, 1e-6)


def test_patients_that_turn_out_to_be_shared_were_charged_all_along(
    new_site: Callable[[], SiteOnDisk],
) -> None:
    site = new_site()
    strangers = [CARDIOLOGY, CohortBudget(name="hospital", delta=1e-5, epsilon_cap=3.0)]
    ledger = site.opened(*strangers)
    site.charge(ledger, [replace(RELEASE, cohorts=("cardiology",))])
    ledger.close()
    assert of(read(site), "hospital").studies == ()

    site.opened(CARDIOLOGY, HOSPITAL).close()

    assert of(read(site), "hospital").spent == of(read(site), "cardiology").spent


def test_a_ledger_of_another_site_or_key_is_refused(site: SiteOnDisk) -> None:
    stranger = SiteIdentity.generate().public_key
    with pytest.raises(InputError, match="is the ledger of another identity"):
        statement_of(site.ledger_file, site=NAME, identity_key=stranger)
    with pytest.raises(InputError, match=f"is the ledger of {NAME}, not of south"):
        statement_of(site.ledger_file, site="south", identity_key=site.identity.public_key)


def test_a_changed_entry_is_found_and_named(site: SiteOnDisk) -> None:
    with closing(sqlite3.connect(site.ledger_file)) as connection, connection:
        connection.execute(
            "UPDATE entries SET body = replace(body, '\"round\":2', '\"round\":7')"
            " WHERE sequence = 5"
        )
        assert connection.total_changes == 1

    with pytest.raises(InputError, match=r"entry 5 .*fedward audit ledger"):
        read(site)
