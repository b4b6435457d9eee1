"""The noise that leaves a whole vault: its variance, its independence, its reproducibility."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedward.client.cohort import Cohort
from fedward.client.vault.vault import Vault
from fedward.common.protocol.queries import AnySumQuery, encode_query
from fedward.common.protocol.releases import Answer, SumRelease, decode_answer
from fedward.common.protocol.sealed import open_sealed
from fedward.common.secure_sum.ring import decode_units
from fedward.common.study.definition import Study

MakeStudy = Callable[..., Study]
MakeVault = Callable[..., Vault]
MakeQuery = Callable[..., AnySumQuery]
Ask = Callable[..., tuple[Answer, NDArray[np.uint64] | None]]

COLUMNS = 30
ROUNDS = 300


@pytest.fixture(scope="module")
def long_study(make_study: MakeStudy) -> Study:
    return make_study(
        columns=COLUMNS,
        training={"method": "distributed", "rounds": ROUNDS, "learning_rate": 1.0},
        privacy={"clip": 0.7},
    )


def undecided(patients: int = 25) -> Cohort:
    """Patients seen twice, alike, once with each outcome: at p = 1/2 their gradients are zero."""
    features = np.random.default_rng(0).uniform(-1, 1, (patients, COLUMNS))
    return Cohort.from_rows(
        features=np.repeat(features, 2, axis=0),
        target=np.tile([0.0, 1.0], patients),
        patients=np.repeat(np.arange(patients), 2),
    )


def releases_of(
    vault: Vault, study: Study, make_query: MakeQuery, ask: Ask, *, sites: int = 3
) -> tuple[NDArray[np.float64], float]:
    """Every training release of a run, ``[rounds, parameters]``, and the share that they tell."""
    roster = tuple(sorted(f"site-{number}" for number in range(sites)))
    found = []
    shares = set()
    for number in range(1, ROUNDS + 1):
        release, total = ask(vault, study, make_query(study, round=number, roster=roster))
        assert isinstance(release, SumRelease)
        assert release.executed is not None
        assert total is not None
        shares.add(release.executed.share_multiplier)
        found.append(decode_units(total, scale_bits=release.scale_bits))
    (share,) = shares
    return np.array(found), share


def chi_square_p(noise: NDArray[np.float64], *, sigma: float) -> float:
    """Two-sided p of the sum of squares under independent normals of this deviation."""
    statistic = float(np.sum((noise / sigma) ** 2))
    below = stats.chi2.cdf(statistic, noise.size)
    above = stats.chi2.sf(statistic, noise.size)
    return 2 * min(below, above)


def test_the_noise_of_a_site_is_what_its_releases_promise(
    long_study: Study, make_vault: MakeVault, make_query: MakeQuery, ask: Ask
) -> None:
    shares = {}
    for sites in (2, 10):
        vault = make_vault(long_study, cohort=undecided(), masked=False)
        noise, shares[sites] = releases_of(vault, long_study, make_query, ask, sites=sites)
        sigma = shares[sites] * long_study.privacy.clip

        # A sound vault fails once in 10^7 runs; one with 10 % too little noise never passes.
        assert chi_square_p(noise, sigma=sigma) > 1e-7
        assert chi_square_p(noise * 0.9, sigma=sigma) < 1e-12
        assert abs(noise.mean()) < 6 * sigma / math.sqrt(noise.size)
        assert stats.kstest(noise.ravel() / sigma, "norm").pvalue > 1e-7
    # One site may cheat: the noise of the sum is made by 1 and by 9 honest sites.
    assert shares[2] / shares[10] == pytest.approx(3, rel=1e-3)


@pytest.mark.parametrize("kind", ["moments", "evaluation", "site_evaluation"])
def test_the_noise_of_a_single_sum_is_what_the_release_promises(
    make_study: MakeStudy, make_vault: MakeVault, make_query: MakeQuery, ask: Ask, kind: str
) -> None:
    study = make_study(columns=COLUMNS, evaluation={"per_site": True})
    sums: list[NDArray[np.float64]] = []
    share = whole = 0.0
    for _ in range(150):
        vault = make_vault(
            study,
            cohort=undecided(),
            held_out=undecided(),
            masked=False,
            policy={"allow_site_evaluation": True},
        )
        release, total = ask(vault, study, make_query(study, kind))
        assert isinstance(release, SumRelease)
        assert release.executed is not None
        assert total is not None
        share, whole = release.executed.share_multiplier, release.executed.noise_multiplier
        sums.append(decode_units(total, scale_bits=release.scale_bits))
    # The same patients in every release: what differs between them is noise.
    residuals = np.array(sums) - np.mean(sums, axis=0)
    statistic = float(np.sum(residuals**2)) / share**2
    freedom = residuals.size - residuals.shape[1]

    assert 2 * min(stats.chi2.cdf(statistic, freedom), stats.chi2.sf(statistic, freedom)) > 1e-7
    assert stats.chi2.cdf(statistic * 0.81, freedom) < 1e-12
    # Of three sites, one may cheat; nobody helps a site with what is read by itself.
    assert share == pytest.approx(whole if kind == "site_evaluation" else whole / math.sqrt(2))


def test_no_noise_is_shared_between_vaults_or_rounds(
    long_study: Study, make_vault: MakeVault, make_query: MakeQuery, ask: Ask
) -> None:
    # Set up alike to the last detail, as two copies of one machine image would be.
    first, second = (
        releases_of(
            make_vault(long_study, cohort=undecided(), masked=False), long_study, make_query, ask
        )[0]
        for _ in range(2)
    )

    pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]] = (
        (first, second),
        (first[1:], first[:-1]),
        (first[:, 1:], first[:, :-1]),
    )
    for one, other in pairs:
        correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 6 / math.sqrt(one.size)
    assert len(np.unique(np.concatenate([first, second]))) > 1.9 * first.size


@pytest.mark.parametrize("kind", ["moments", "gradient_sum", "local_update"])
def test_an_insecure_seed_gives_the_same_bytes_to_the_same_site_alone(
    study: Study, local_study: Study, make_vault: MakeVault, make_query: MakeQuery, kind: str
) -> None:
    chosen = local_study if kind == "local_update" else study
    arrays = {"parameters": np.zeros(4), "center": np.zeros(3), "scale": np.ones(3)}
    frame = encode_query(make_query(chosen, kind), {} if kind == "moments" else arrays)

    def total_of(**changes: object) -> bytes:
        sealed = make_vault(chosen, masked=False, **changes).answer(frame)
        _, total = decode_answer(open_sealed(sealed).frame)
        assert total is not None
        return total.tobytes()

    seeded = make_vault(chosen, noise_seed=7).answer(frame)
    assert make_vault(chosen, noise_seed=7).answer(frame) == seeded
    others = [
        total_of(noise_seed=7),
        total_of(noise_seed=8),
        total_of(noise_seed=7, site="site-1"),
        total_of(),
        total_of(),
    ]
    assert len(set(others)) == len(others)


def test_an_insecure_seed_gives_every_place_its_own_noise(
    long_study: Study, make_vault: MakeVault, make_query: MakeQuery, ask: Ask
) -> None:
    vault = make_vault(
        long_study, cohort=undecided(), noise_seed=7, masked=False, runs=("run", "other")
    )
    totals = []
    for place in ({"round": 1}, {"round": 2}, {"round": 1, "attempt": 2}, {"run_id": "other"}):
        _, total = ask(vault, long_study, make_query(long_study, **place))
        assert total is not None
        totals.append(total)

    assert len(np.unique(np.concatenate(totals))) == 4 * (COLUMNS + 1)
