"""What somebody learns who sees all releases and holds the secrets of some sites.

Of a sum, no more than the other sites' data with the noise that the plan promises; of a single
site, nothing, as long as one other site keeps its secrets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fedward.common.privacy.plan import plan_for
from fedward.common.privacy.random_source import RandomSource
from fedward.common.privacy.sum_plan import SumPlan
from fedward.common.secure_sum import session as session_module
from fedward.common.secure_sum.keystream import add_keystreams
from fedward.common.secure_sum.masks import MaskedSum
from fedward.common.secure_sum.noise import codec_for, noise_share
from fedward.common.secure_sum.ring import RingCodec
from fedward.common.secure_sum.roster import Roster
from fedward.common.secure_sum.running_sum import RunningSum
from fedward.common.secure_sum.session import Session, SessionKey
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study

MakeStudy = Callable[..., Study]
Elements = NDArray[np.uint64]

LENGTH, PATIENTS = 2**17, 500
PLACES = ((1, 1), (1, 2), (2, 1))
"""(round, attempt) of the sums looked at."""
SOUND, REFUTED = 1e-7, 1e-30
"""A p-value above the first is taken for sound (which chance misses once in 10^7), below the second
for refuted; what is planted lies far below."""


@dataclass(frozen=True)
class Federation:
    """Sites in one session, each with its data; every secret at hand."""

    plan: SumPlan
    codec: RingCodec
    sessions: dict[str, Session]
    data: dict[str, Elements]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.sessions)

    def masked(self, place: tuple[int, int]) -> MaskedSum:
        return masked_sum(self.names, place)

    def releases(
        self, place: tuple[int, int], *, plan: SumPlan | None = None
    ) -> dict[str, Elements]:
        """What leaves each site: data, noise share and mask."""
        source = RandomSource.from_os()
        released = {}
        for name, session in self.sessions.items():
            stream = source.stream(purpose="noise", context=repr((name, place)).encode())
            elements = self.data[name] + noise_share(plan or self.plan, self.codec, stream)
            assert session.hide(self.masked(place), elements)
            released[name] = elements
        return released

    def stripped(
        self, release: Elements, site: str, *, colluders: Collection[str], place: tuple[int, int]
    ) -> Elements:
        """A site's release less the masks that it shares with colluders, who know them."""
        info = session_module._sum_digest(self.masked(place), length=release.size)
        keys: dict[bool, list[bytes]] = {True: [], False: []}
        for colluder in colluders:
            secret = self.sessions[colluder]._secrets[site]
            key = HKDFExpand(algorithm=SHA256(), length=32, info=info).derive(secret)
            keys[site < colluder].append(key)
        left = release.copy()
        add_keystreams(left, added=keys[False], subtracted=keys[True])
        return left

    def remainder(
        self, releases: dict[str, Elements], *, honest: Collection[str], place: tuple[int, int]
    ) -> NDArray[np.float64]:
        """What all other sites together find in the sum beyond the honest sites' data, in units."""
        colluders = [name for name in self.names if name not in honest]
        total = RunningSum(self.codec.length)
        for site in honest:
            total.add(self.stripped(releases[site], site, colluders=colluders, place=place))
            total.add(-self.data[site])
        return total.total.view(np.int64).astype(np.float64)


def masked_sum(roster: tuple[str, ...], place: tuple[int, int]) -> MaskedSum:
    number, attempt = place
    return MaskedSum(
        run_id="run",
        study_digest="5" * 64,
        session=1,
        roster=roster,
        round=number,
        attempt=attempt,
        query_digest="9" * 64,
    )


def sessions_of(sites: int) -> dict[str, Session]:
    """One session as each of its sites joins it, with fresh keys."""
    source = RandomSource.from_os()
    identities = {f"site-{number:02}": SiteIdentity.generate() for number in range(sites)}
    keys = {name: identity.public_key for name, identity in identities.items()}
    roster = Roster.of(keys, federation="heart")
    offered = {
        name: SessionKey.make(
            identity,
            site=name,
            run_id="run",
            study_digest="5" * 64,
            roster_digest=roster.digest,
            session=1,
            private_key=source.stream(purpose="key", context=name.encode()).uint64(4).tobytes(),
        )
        for name, identity in identities.items()
    }
    offers = [key.offer for key in offered.values()]
    return {name: Session.join(key, offers, roster=roster) for name, key in offered.items()}


@pytest.fixture
def make_federation(make_study: MakeStudy) -> Callable[..., Federation]:
    def make(*, sites: int, colluding: int, length: int = LENGTH) -> Federation:
        study = make_study(
            cohort={"expected_patients": 60, "minimum_sites": sites},
            privacy={"colluding": colluding, "clip": 0.7},
        )
        plan = plan_for(study, sites=sites, coordinates=length).training
        codec = codec_for(plan, length=length, max_patients=PATIENTS, sites=sites)
        generator = np.random.default_rng(0)
        sessions = sessions_of(sites)
        data = {}
        for name in sessions:
            gradient = generator.normal(size=length) * generator.uniform(size=length)
            gradient *= 0.9 * PATIENTS * plan.clip / np.linalg.norm(gradient)
            data[name] = codec.encode(gradient)
        return Federation(plan=plan, codec=codec, sessions=sessions, data=data)

    return make


def evidence(noise: NDArray[np.float64], *, sigma: float) -> dict[str, float]:
    """Two-sided p-values of noise ``[sums, length]`` as independent normals of deviation ``sigma``.

    ``spread``: chi-square test of the sum of squares. ``centre``, ``skew``, ``tails``: mean and
    third and fourth Hermite moments, which are uncorrelated. ``shape``: Kolmogorov and Smirnov.
    ``coordinates``, ``sums``: mean products of neighbours in one sum, at several distances, and of
    one coordinate in two sums.
    """
    scaled = noise / sigma
    size = scaled.size
    squares = float(np.sum(scaled**2))
    found = {
        "spread": 2 * min(stats.chi2.cdf(squares, size), stats.chi2.sf(squares, size)),
        "centre": p_of_mean(scaled),
        "skew": p_of_mean((scaled**3 - 3 * scaled) / math.sqrt(6)),
        "tails": p_of_mean((scaled**4 - 6 * scaled**2 + 3) / math.sqrt(24)),
        "shape": stats.kstest(scaled.ravel(), "norm").pvalue,
        "coordinates": least(
            p_of_mean(scaled[:, step:] * scaled[:, :-step]) for step in (1, 2, 8, 1024, 2**15)
        ),
        "sums": least(p_of_mean(one * other) for one, other in combinations(scaled, 2)),
    }
    return {name: float(value) for name, value in found.items()}


def p_of_mean(values: NDArray[np.float64]) -> float:
    """Two-sided p-value of the mean of uncorrelated values of mean 0 and variance 1."""
    return float(2 * stats.norm.sf(abs(values.mean()) * math.sqrt(values.size)))


def least(p_values: Iterable[float]) -> float:
    """The smallest, times how many there are (Bonferroni)."""
    several = list(p_values)
    return min(several) * len(several)


def p_of_bytes(elements: Elements) -> float:
    """Chi-square test that each of the eight bytes of a ring element is uniform."""
    places = elements.view(np.uint8).reshape(-1, 8).T
    counts = np.array([np.bincount(place, minlength=256) for place in places])
    expected = elements.size / 256
    return float(stats.chi2.sf(np.sum((counts - expected) ** 2) / expected, 8 * 255))


def noise_of(
    federation: Federation, honest: Collection[str], **changes: float
) -> NDArray[np.float64]:
    """What remains of every sum, ``[sums, length]``, if sites use a plan with these changes."""
    plan = replace(federation.plan, **changes)
    return np.array(
        [
            federation.remainder(federation.releases(place, plan=plan), honest=honest, place=place)
            for place in PLACES
        ]
    )


@pytest.mark.parametrize(("sites", "colluding"), [(3, 1), (5, 1), (5, 3), (6, 2)])
def test_colluders_find_the_promised_noise_and_no_less(
    make_federation: Callable[..., Federation], sites: int, colluding: int
) -> None:
    federation = make_federation(sites=sites, colluding=colluding)
    plan, codec = federation.plan, federation.codec
    share = codec.noise_sigma_units(plan.share_multiplier)
    assert share**2 * (sites - colluding) == pytest.approx(
        codec.noise_sigma_units(plan.noise_multiplier) ** 2, rel=1e-9
    )
    # As many colluders as the study allows for; and all but one more than that.
    for keep in {sites - colluding, colluding + 1}:
        honest = federation.names[:keep]
        noise = noise_of(make_federation(sites=sites, colluding=colluding), honest)
        found = evidence(noise, sigma=math.sqrt(keep) * share)
        assert min(found.values()) > SOUND, found
        if keep == sites - colluding:
            promised = plan.noise_multiplier * codec.sensitivity_units
            assert noise.std() > 0.99 * promised


def test_shares_ten_percent_too_small_are_found_out(
    make_federation: Callable[..., Federation],
) -> None:
    federation = make_federation(sites=5, colluding=1)
    honest = federation.names[1:]
    promised = federation.codec.noise_sigma_units(federation.plan.noise_multiplier)
    for factor in (0.9, 1.1):
        changed = factor * federation.plan.share_multiplier
        noise = noise_of(make_federation(sites=5, colluding=1), honest, share_multiplier=changed)
        found = evidence(noise, sigma=promised)
        assert found.pop("spread") < REFUTED
        # Only the size is wrong.
        assert min(evidence(noise / factor, sigma=promised).values()) > SOUND


def test_noise_that_is_not_what_it_should_be_is_found_out() -> None:
    generator = np.random.default_rng(0)
    sound = generator.normal(size=(3, LENGTH))
    assert min(evidence(sound, sigma=1.0).values()) > SOUND

    again = sound.copy()
    again[2, : LENGTH // 4] = sound[0, : LENGTH // 4]
    smooth = (sound[:, 1:] + 0.1 * sound[:, :-1]) / math.sqrt(1.01)
    repeated = np.tile(sound[:, : 2**15], 4)
    uniform = generator.uniform(-math.sqrt(3), math.sqrt(3), size=sound.shape)
    skewed = generator.exponential(size=sound.shape) - 1
    for what, planted in (
        ("sums", again),
        ("coordinates", smooth),
        ("coordinates", repeated),
        ("tails", uniform),
        ("shape", uniform),
        ("skew", skewed),
        ("centre", sound + 0.1),
    ):
        assert evidence(planted, sigma=1.0)[what] < REFUTED


def test_one_release_is_uniform_to_whoever_lacks_its_sites_secrets(
    make_federation: Callable[..., Federation],
) -> None:
    federation = make_federation(sites=4, colluding=1)
    for place in PLACES:
        for release in federation.releases(place).values():
            assert p_of_bytes(release) > SOUND


def test_one_of_two_releases_is_uniform_to_all_other_sites_together(
    make_federation: Callable[..., Federation],
) -> None:
    federation = make_federation(sites=4, colluding=1)
    place = PLACES[0]
    releases = federation.releases(place)
    for pair in combinations(federation.names, 2):
        colluders = [name for name in federation.names if name not in pair]
        first, second = (
            federation.stripped(releases[site], site, colluders=colluders, place=place)
            for site in pair
        )
        for left in (first, second, first - second):
            assert p_of_bytes(left) > SOUND
        # Only together do they say anything: what a sum is for.
        assert p_of_bytes(first + second) < REFUTED
        # And whoever holds one more site's secrets holds the release.
        alone = federation.stripped(
            releases[pair[0]], pair[0], colluders=[*colluders, pair[1]], place=place
        )
        assert p_of_bytes(alone) < REFUTED


def test_a_release_that_is_masked_in_part_is_found_out(
    make_federation: Callable[..., Federation],
) -> None:
    federation = make_federation(sites=3, colluding=1)
    release = federation.releases(PLACES[0])["site-00"]
    assert p_of_bytes(release) > SOUND
    part = release.copy()
    part[::50] = federation.data["site-00"][::50]
    assert p_of_bytes(part) < REFUTED


LARGE = sessions_of(7)


@settings(max_examples=60)
@given(
    roster=st.sets(st.sampled_from(tuple(LARGE)), min_size=1).map(sorted).map(tuple),
    length=st.integers(1, 300),
    seed=st.integers(0, 2**32),
    place=st.tuples(st.integers(1, 10**6), st.integers(1, 1000)),
    data=st.data(),
)
def test_masked_and_unmasked_sums_are_equal_to_the_last_bit(
    roster: tuple[str, ...], length: int, seed: int, place: tuple[int, int], data: st.DataObject
) -> None:
    plan = SumPlan(clip=0.3, sampling_rate=1.0, count=1, noise_multiplier=3.0, share_multiplier=3.0)
    codec = codec_for(plan, length=length, max_patients=PATIENTS, sites=len(LARGE))
    generator = np.random.default_rng(seed)
    stream = RandomSource.insecure(seed).stream(purpose="noise", context=b"")
    plain = {}
    for site in roster:
        values = generator.normal(size=length)
        values *= generator.uniform() * PATIENTS * plan.clip / np.linalg.norm(values)
        plain[site] = codec.encode(values) + noise_share(plan, codec, stream)
    for session in LARGE.values():
        session._masked.clear()  # the same place may be drawn again
    hidden = RunningSum(length)
    for site in data.draw(st.permutations(roster), label="order of arrival"):
        elements = plain[site].copy()
        assert LARGE[site].hide(masked_sum(roster, place), elements) == (len(roster) > 1)
        hidden.add(elements)

    exact = [sum(int(plain[site].view(np.int64)[j]) for site in roster) for j in range(length)]
    assert hidden.total.view(np.int64).tolist() == exact
    assert codec.decode(hidden.total).tolist() == [math.ldexp(x, -codec.scale_bits) for x in exact]
