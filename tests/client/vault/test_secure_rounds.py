"""Rounds over several vaults: what the coordinator learns, and what nobody learns."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

import fedward.client.vault.patient_sums
from fedward.client.cohort import Cohort
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import MemoryLedger
from fedward.client.vault.protection import (
    NoiseShare,
    PlannedProtection,
    PlannedShare,
    SumRules,
)
from fedward.common.privacy.random_source import RandomStream
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.releases import Refusal, RefusalReason, SumRelease
from fedward.common.secure_sum.ring import RingCodec
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.simulations.unprotected import NoShare

MakeStudy = Callable[..., Study]
MakeCohort = Callable[..., Cohort]
MakeVault = Callable[..., Any]
OpenRun = Callable[..., Any]
Elements = NDArray[np.uint64]

UNLIKELY = 1e-7
"""A sound vault fails a test once in so many runs."""
IMPOSSIBLE = 1e-12
"""An unsound one never passes."""


class Shared(PlannedProtection):
    """The plan's rules with another share of the noise than the planned one."""

    def __init__(self, share_of: Callable[[SumRules, PlannedShare], NoiseShare]) -> None:
        super().__init__()
        self.share_of = share_of

    def rules(self, study: Study, kind: SumKind, *, sites: int, colluding: int) -> SumRules:
        rules = super().rules(study, kind, sites=sites, colluding=colluding)
        assert isinstance(rules.share, PlannedShare)
        return replace(rules, share=self.share_of(rules, rules.share))


def quiet(_rules: SumRules, _share: PlannedShare) -> NoiseShare:
    return NoShare()


def too_quiet(_rules: SumRules, share: PlannedShare) -> NoiseShare:
    """A tenth less noise than promised."""
    return PlannedShare(replace(share.plan, share_multiplier=0.9 * share.plan.share_multiplier))


@dataclass
class Remembered:
    """Draws once, and then gives the same again: fresh masks over old noise."""

    share: PlannedShare
    drawn: Elements | None = None

    def add(self, elements: Elements, stream: RandomStream, *, codec: RingCodec) -> None:
        if self.drawn is None:
            self.drawn = np.zeros(codec.length, dtype=np.uint64)
            self.share.add(self.drawn, stream, codec=codec)
        elements += self.drawn


def looks_uniform(elements: Elements) -> float:
    """p of the bytes of ring elements under a uniform distribution."""
    counts = np.bincount(np.frombuffer(elements.tobytes(), dtype=np.uint8), minlength=256)
    return float(stats.chisquare(counts).pvalue)


def two_sided(noise: NDArray[np.float64], *, sigma: float) -> float:
    """p of the sum of squares under independent normals of this deviation."""
    statistic = float(np.sum((noise / sigma) ** 2))
    return float(
        2 * min(stats.chi2.cdf(statistic, noise.size), stats.chi2.sf(statistic, noise.size))
    )


def in_units(elements: Elements) -> NDArray[np.float64]:
    return elements.view(np.int64).astype(np.float64)


def ring_sum(parts: Any) -> Elements:
    total: Elements = np.sum(list(parts), axis=0, dtype=np.uint64)
    return total


@pytest.fixture(scope="module")
def long_study(make_study: MakeStudy) -> Study:
    """A thousand parameters, for distributions to be seen in."""
    return make_study(model={"name": "mlp", "options": {"hidden": [200]}}, statistics={})


@pytest.fixture(scope="module")
def wide_study(make_study: MakeStudy) -> Study:
    """25 001 parameters, and two sites that may cheat."""
    return make_study(
        model={"name": "mlp", "options": {"hidden": [5000]}},
        privacy={"colluding": 2},
        cohort={"minimum_sites": 3},
    )


@pytest.fixture(scope="module")
def cohort_of(make_cohort: MakeCohort) -> Callable[[str], Cohort]:
    """Each site's own patients."""
    return lambda site: make_cohort(10 + int(site[-1]), seed=int(site[-1]))


@pytest.fixture
def data_of(
    make_vault: MakeVault, cohort_of: Callable[[str], Cohort]
) -> Callable[[Study, Any, str], Elements]:
    """What a site's release is without noise and mask."""

    def exact(study: Study, run: Any, site: str) -> Elements:
        vault = make_vault(
            study, site=site, cohort=cohort_of(site), protection=Shared(quiet), masked=False
        )
        alone = replace(run, vaults=run.vaults | {site: vault})
        _, total = alone.ask(site, alone.frame(run.query(offers=())))
        assert total is not None
        return np.array(total)

    return exact


@pytest.mark.parametrize("kind", ["moments", "counts", "gradient_sum", "evaluation"])
def test_a_masked_sum_equals_an_unmasked_one_to_the_last_bit(
    long_study: Study, open_run: OpenRun, cohort_of: Callable[[str], Cohort], kind: str
) -> None:
    totals = {}
    for masked in (True, False):
        run = open_run(
            long_study, cohort=cohort_of, held_out=cohort_of, noise_seed=3, masked=masked
        )
        releases = run.releases(run.query(kind))
        totals[masked] = ring_sum(releases.values())
        shown = {site: in_units(total) for site, total in releases.items()}
        # Noised parts are far from the ring's ends, masked ones are anywhere.
        assert all((np.abs(part).max() > 2.0**58) == masked for part in shown.values())

    assert totals[True].tobytes() == totals[False].tobytes()


def test_a_release_by_itself_is_uniform_and_so_is_any_sum_that_lacks_one(
    long_study: Study, open_run: OpenRun
) -> None:
    run = open_run(long_study, sites=4)
    releases = run.releases(run.query())

    for missing in run.names:
        assert looks_uniform(releases[missing]) > UNLIKELY
        rest = ring_sum(total for site, total in releases.items() if site != missing)
        assert looks_uniform(rest) > UNLIKELY
    assert looks_uniform(ring_sum(releases.values())) < IMPOSSIBLE


def test_two_rosters_for_one_round_are_refused_at_one_site_and_worth_nothing_at_two(
    long_study: Study, open_run: OpenRun
) -> None:
    run = open_run(long_study, sites=4)
    whole, less = run.query(), run.query(roster=run.names[:3])
    frames = [run.frame(query) for query in (whole, less)]
    answers = {site: run.ask(site, frames[0])[1] for site in run.names[:2]}
    answers |= {site: run.ask(site, frames[1])[1] for site in run.names[2:3]}
    answers |= {site: run.ask(site, frames[0])[1] for site in run.names[3:]}

    for site in run.names[:3]:
        for frame in frames:
            answer, _ = run.ask(site, frame)
            assert isinstance(answer, Refusal)
            assert answer.reason == RefusalReason.ALREADY_ANSWERED
    for chosen in (run.names, run.names[:3]):
        assert looks_uniform(ring_sum(answers[site] for site in chosen)) > UNLIKELY


def test_sites_that_are_asked_different_things_add_up_to_nothing(
    long_study: Study, open_run: OpenRun
) -> None:
    # A model of its own for each site, so that all but one add nothing but noise.
    parameters = Dimensions.of(long_study).parameters
    for changes, arrays in (
        ({}, {"parameters": np.full(parameters, 0.5)}),
        ({}, {"scale": np.full(3, 0.5)}),
        ({"offers": ()}, {}),
    ):
        run = open_run(long_study)
        query, other = run.query(), run.query(**changes)
        first = run.ask("site-0", run.frame(run.query(round=2)))
        assert isinstance(first[0], SumRelease)
        answers = [run.ask("site-0", run.frame(other, **arrays))[1]]
        answers += [run.ask(site, run.frame(query))[1] for site in run.names[1:]]

        assert looks_uniform(ring_sum(answers)) > UNLIKELY


def test_sites_in_different_sessions_add_up_to_nothing(
    long_study: Study, open_run: OpenRun
) -> None:
    # The same sites, run and number, but one of them was shown the keys of another opening.
    one, other = open_run(long_study), open_run(long_study)
    answers = [run.ask(site, run.frame(run.query()))[1]
               for run, site in ((one, "site-0"), (one, "site-1"), (other, "site-2"))]  # fmt: skip

    assert looks_uniform(ring_sum(answers)) > UNLIKELY


def test_after_a_drop_out_the_next_attempt_adds_up_over_the_survivors(
    long_study: Study,
    open_run: OpenRun,
    cohort_of: Callable[[str], Cohort],
    data_of: Callable[[Study, Any, str], Elements],
) -> None:
    run = open_run(long_study, sites=4, cohort=cohort_of)
    lost = run.query()
    for site in run.names[:3]:
        run.ask(site, run.frame(lost))

    survivors = run.names[:3]
    again = run.query(attempt=2, roster=survivors, offers=())
    total = ring_sum(run.releases(again).values())

    exact = ring_sum(data_of(long_study, run, site) for site in survivors)
    rules = PlannedProtection().rules(long_study, "training", sites=3, colluding=0)
    assert rules.executed is not None
    sigma = rules.codec.noise_sigma_units(rules.executed.share_multiplier) * np.sqrt(3)
    assert two_sided(in_units(total - exact), sigma=sigma) > UNLIKELY


def noise_of_attempts(
    run: Any, data: Elements, *, again: Callable[[], Any] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The noise of site-0 in two attempts, with every mask taken off by its own secrets."""
    found = []
    for number in (1, 2):
        asked = again() if again is not None and number == 2 else run
        query = asked.query(attempt=number)
        frame = asked.frame(query)
        _, total = asked.ask("site-0", frame)
        found.append(in_units(total - asked.mask("site-0", query, frame) - data))
    return found[0], found[1]


@pytest.mark.parametrize("restarted", [False, True], ids=["in one process", "after a restart"])
def test_another_attempt_has_other_noise(
    long_study: Study,
    federation: Any,
    open_run: OpenRun,
    cohort_of: Callable[[str], Cohort],
    data_of: Callable[[Study, Any, str], Elements],
    tmp_path: Path,
    restarted: bool,
) -> None:
    rules = PlannedProtection().rules(long_study, "training", sites=3, colluding=0)
    assert rules.executed is not None
    sigma = rules.codec.noise_sigma_units(rules.executed.share_multiplier)

    def p_of_fresh(protection: PlannedProtection, name: str) -> float:
        own = {"site": "site-0", "identity": federation.identities["site-0"]}
        ledgers: list[DurableLedger] = []

        def opened() -> Any:
            for ledger in ledgers:
                ledger.close()
            ledgers.append(DurableLedger(tmp_path / name, **own))
            return open_run(long_study, cohort=cohort_of, protection=protection, ledger=ledgers[-1])

        run = opened()
        data = data_of(long_study, run, "site-0")
        try:
            first, second = noise_of_attempts(run, data, again=opened if restarted else None)
        finally:
            ledgers[-1].close()
        assert two_sided(first, sigma=sigma) > UNLIKELY
        assert two_sided(second, sigma=sigma) > UNLIKELY
        # Independent noise: the variance of the difference is twice that of either.
        return two_sided(first - second, sigma=sigma * np.sqrt(2))

    assert p_of_fresh(PlannedProtection(), "sound") > UNLIKELY
    kept: dict[int, Remembered] = {}
    cached = Shared(lambda _rules, share: kept.setdefault(0, Remembered(share)))
    assert p_of_fresh(cached, "cached") < IMPOSSIBLE


def test_another_attempt_has_another_batch(
    make_study: MakeStudy,
    make_cohort: MakeCohort,
    open_run: OpenRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = make_study(
        training={
            "method": "distributed",
            "rounds": 20,
            "learning_rate": 1.0,
            "batch": "poisson",
            "sampling_rate": 0.5,
        }
    )
    batches: list[NDArray[np.int64]] = []

    def record(
        _model: object, _parameters: object, _cohort: object, patients: NDArray[np.int64], **_: Any
    ) -> NDArray[np.float64]:
        batches.append(patients)
        return np.zeros(4)

    monkeypatch.setattr(fedward.client.vault.patient_sums, "clipped_gradient_sum", record)
    run = open_run(study, cohort=make_cohort(2000))
    for attempt in (1, 2, 3):
        run.ask("site-0", run.frame(run.query(attempt=attempt)))

    for one, other in ((0, 1), (0, 2), (1, 2)):
        both = len(np.intersect1d(batches[one], batches[other]))
        # Two independent halves of 2000 patients share a quarter, give or take.
        assert abs(both - 500) < 6 * np.sqrt(2000 * 0.25 * 0.75)


def test_vaults_seeded_alike_share_no_noise_and_no_mask(
    long_study: Study,
    open_run: OpenRun,
    make_cohort: MakeCohort,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One image on two machines: the same patients, and every generator set alike."""

    def seeded(*_: object) -> None:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)

    for noise_seed in (None, 7):
        run = open_run(long_study, cohort=make_cohort(), noise_seed=noise_seed)
        query = run.query()
        frame = run.frame(query)
        noise, masks = [], []
        for site in run.names:
            seeded()
            _, total = run.ask(site, frame)
            seeded()
            masks.append(run.mask(site, query, frame))
            noise.append(total - masks[-1])
        assert not ring_sum(masks).any()

        for drawn in (noise, masks):
            for one, other in ((0, 1), (0, 2), (1, 2)):
                parts = in_units(drawn[one]), in_units(drawn[other])
                correlation = np.corrcoef(*parts)[0, 1]
                # Two sites of a pair add the same keystream with opposite signs, and another each.
                assert (drawn[one] != drawn[other]).all()
                assert (drawn[one] + drawn[other] != 0).mean() > 0.99
                if drawn is noise:
                    assert abs(correlation) < 6 / np.sqrt(len(parts[0]))


def rest_without_the_coalition(
    run: Any,
    coalition: tuple[str, ...],
    data_of: Callable[[Study, Any, str], Elements],
) -> tuple[NDArray[np.float64], dict[str, Elements], Elements]:
    """What is left of a sum once all that the coalition knows is taken out of it.

    Also the honest sites' own releases, and all that the coalition knows of the masks in them.
    """
    query = run.query()
    frame = run.frame(query)
    releases = run.releases(query)
    masks = {site: run.mask(site, query, frame) for site in coalition}
    known = ring_sum(releases[site] - masks[site] for site in coalition)
    honest = [site for site in run.names if site not in coalition]
    data = ring_sum(data_of(run.study, run, site) for site in honest)
    rest = ring_sum(releases.values()) - known - data
    return in_units(rest), {site: releases[site] for site in honest}, ring_sum(masks.values())


def test_without_the_secrets_of_colluding_plus_one_sites_only_promised_noise_is_left(
    wide_study: Study,
    open_run: OpenRun,
    cohort_of: Callable[[str], Cohort],
    data_of: Callable[[Study, Any, str], Elements],
) -> None:
    sites, colluding = 6, wide_study.privacy.colluding
    rules = PlannedProtection().rules(wide_study, "training", sites=sites, colluding=0)
    assert rules.executed is not None
    whole = rules.codec.noise_sigma_units(rules.executed.noise_multiplier)
    # colluding + 1 honest shares, each of variance sigma^2 / (sites - colluding)
    promised = whole * np.sqrt((colluding + 1) / (sites - colluding))

    def rest_of(protection: PlannedProtection) -> Any:
        run = open_run(wide_study, sites=sites, cohort=cohort_of, protection=protection)
        return rest_without_the_coalition(run, run.names[: sites - colluding - 1], data_of)

    rest, honest, masks = rest_of(PlannedProtection())
    assert len(honest) == colluding + 1
    assert rest.size >= 20_000
    assert two_sided(rest, sigma=promised) > UNLIKELY
    assert abs(rest.mean()) < 6 * promised / np.sqrt(rest.size)
    assert stats.kstest(rest / promised, "norm").pvalue > UNLIKELY
    assert abs(np.corrcoef(rest[1:], rest[:-1])[0, 1]) < 6 / np.sqrt(rest.size)
    # Nothing of a single honest site, or of two: their masks with the third stay.
    totals = list(honest.values())
    for part in (*totals, *(ring_sum(totals) - total for total in totals)):
        assert looks_uniform(part) > UNLIKELY
        assert looks_uniform(part + masks) > UNLIKELY

    quieter, _, _ = rest_of(Shared(too_quiet))
    assert two_sided(quieter, sigma=promised) < IMPOSSIBLE


def test_forged_replayed_and_foreign_session_keys_cost_nothing(
    long_study: Study, federation: Any, open_run: OpenRun
) -> None:
    ledger = MemoryLedger()
    run = open_run(long_study, ledger=ledger)
    earlier, other = open_run(long_study, run_id="earlier"), open_run(long_study)
    own, peer, third = run.offers
    wrong: dict[str, tuple[Any, ...]] = {
        "forged": (own, peer.model_copy(update={"signature": "0" * 128}), third),
        "exchanged": (own, peer.model_copy(update={"key": third.key}), third),
        "replayed": (own, earlier.offers[1], third),
        "foreign": other.offers,
        "none": (),
    }
    for what, offers in wrong.items():
        answer, _ = run.ask("site-0", run.frame(run.query(offers=offers)))
        assert isinstance(answer, Refusal), what
        assert answer.reason == RefusalReason.SESSION_KEYS, what
    assert ledger.entries() == ()
    assert isinstance(run.ask("site-0", run.frame(run.query()))[0], SumRelease)


def test_a_decoded_sum_is_what_the_sites_hold_together(
    long_study: Study, open_run: OpenRun, cohort_of: Callable[[str], Cohort]
) -> None:
    run = open_run(long_study, cohort=cohort_of, protection=Shared(quiet))
    codec = PlannedProtection().rules(long_study, "counts", sites=3, colluding=0).codec

    counted = codec.decode(ring_sum(run.releases(run.query("counts")).values()))
    assert counted.sum() == sum(cohort_of(site).patient_count for site in run.names)
