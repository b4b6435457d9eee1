from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy import accounting
from fedward.common.privacy.accounting import (
    cross_checked_epsilon,
    displayed_epsilon,
    epsilon_of,
)
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.gaussian_mechanism import gaussian_epsilon


def event(sigma: float, rate: float = 1.0, count: int = 1) -> GaussianEvent:
    return GaussianEvent(noise_multiplier=sigma, sampling_rate=rate, count=count)


def sampled_epsilon(sigma: float, rate: float, delta: float) -> float:
    """One release of a Poisson-sampled Gaussian: the larger of removing and adding, exactly.

    Removing compares P = (1 - q) N(0) + q N(1) with Q = N(0), adding the other way round. Both
    likelihood ratios are monotone, so the hockey-stick divergence is a difference of two tails.
    """

    def removing(epsilon: float) -> float:
        x = 0.5 + sigma**2 * math.log((math.exp(epsilon) - 1 + rate) / rate)
        mixture = (1 - rate) * norm.sf(x / sigma) + rate * norm.sf((x - 1) / sigma)
        return float(mixture - math.exp(epsilon) * norm.sf(x / sigma))

    def adding(epsilon: float) -> float:
        inner = math.exp(-epsilon) - 1 + rate
        if inner <= 0:
            return 0.0
        x = 0.5 + sigma**2 * math.log(inner / rate)
        mixture = (1 - rate) * norm.cdf(x / sigma) + rate * norm.cdf((x - 1) / sigma)
        return float(norm.cdf(x / sigma) - math.exp(epsilon) * mixture)

    found = [0.0]
    for side in (removing, adding):
        if side(0.0) > delta:
            found.append(float(brentq(lambda e, side=side: side(e) - delta, 0.0, 60.0)))
    return max(found)


def test_no_events_cost_nothing() -> None:
    assert epsilon_of([], delta=1e-5) == 0.0
    assert displayed_epsilon([], delta=1e-5) == 0.0
    checked = cross_checked_epsilon([], delta=1e-5)
    assert (checked.epsilon, checked.prv_low, checked.prv_high, checked.rdp) == (0, None, None, 0)


@settings(max_examples=15, deadline=None)
@given(sigma=st.floats(1, 100), count=st.integers(1, 300), log_delta=st.floats(-10, -3))
def test_unsampled_epsilon_is_the_exact_one_rounded_up(
    sigma: float, count: int, log_delta: float
) -> None:
    sigma, delta = sigma * math.sqrt(count), 10**log_delta
    exact = gaussian_epsilon(noise_multiplier=sigma / math.sqrt(count), delta=delta)
    found = epsilon_of([event(sigma, count=count)], delta=delta)
    assert exact <= found <= exact * 1.0001 + 2e-4
    assert found == math.ceil(found * 10_000 - 1e-6) / 10_000
    assert exact <= displayed_epsilon([event(sigma, count=count)], delta=delta) <= exact + 1e-4


@pytest.mark.parametrize(
    ("sigma", "rate"), [(1.0, 0.01), (1.0, 0.1), (2.0, 0.5), (1.5, 0.9), (4.0, 0.3)]
)
def test_one_sampled_release_is_exact(sigma: float, rate: float) -> None:
    exact = sampled_epsilon(sigma, rate, 1e-6)
    assert exact <= epsilon_of([event(sigma, rate)], delta=1e-6) <= exact + 3e-4
    assert exact <= displayed_epsilon([event(sigma, rate)], delta=1e-6) <= exact + 3e-3


def test_order_and_grouping_do_not_matter_and_every_release_costs() -> None:
    a, b = event(6.0, 0.1, 20), event(9.0)
    together = epsilon_of([a, b], delta=1e-5)
    assert together == epsilon_of([b, *[event(6.0, 0.1)] * 20], delta=1e-5)
    assert together > epsilon_of([a], delta=1e-5) > epsilon_of([event(6.0, 0.1, 19)], delta=1e-5)
    assert together > epsilon_of([b], delta=1e-5)


def test_sampling_helps_and_a_smaller_delta_costs() -> None:
    assert epsilon_of([event(3.0, 0.2)], delta=1e-5) < epsilon_of([event(3.0)], delta=1e-5)
    assert epsilon_of([event(3.0)], delta=1e-6) > epsilon_of([event(3.0)], delta=1e-5)


@pytest.mark.parametrize("delta", [0.0, 1e-12, 1.0, -1.0, float("nan")])
def test_delta_out_of_range_is_refused(delta: float) -> None:
    for account in (epsilon_of, displayed_epsilon, cross_checked_epsilon):
        with pytest.raises(PrivacyRefusal, match="delta"):
            account([event(3.0, 0.5)], delta=delta)


def test_absurd_events_still_have_an_upper_bound() -> None:
    exact = gaussian_epsilon(noise_multiplier=0.01, delta=1e-5)
    assert exact <= epsilon_of([event(0.01)], delta=1e-5) <= exact + 2e-4
    sampled = epsilon_of([event(0.05, 0.1, 300)], delta=1e-5)
    assert epsilon_of([event(0.5, 0.1, 300)], delta=1e-5) < sampled < 1e6


@pytest.mark.parametrize(
    ("events", "delta"),
    [
        ((event(3.7307),), 1e-5),
        ((event(3.7307),), 1e-10),
        ((event(37.307, count=100),), 1e-5),
        ((event(1000.0),), 1e-5),
        ((event(1000.0),), 1e-10),
        ((event(1e5),), 1e-5),
        ((event(0.5),), 1e-5),
        ((event(5.5, 0.1, 200),), 1e-5),
        ((event(5.5, 0.1, 200),), 1e-10),
        ((event(5.5, 0.1, 200), event(9.0)), 1e-5),
        ((event(0.9, 0.01, 1000),), 1e-5),
        ((event(300.0, 0.5, 20),), 1e-5),
        ((event(4.0, 0.2, 30), event(5.0, 0.3, 20), event(6.0, count=3)), 1e-6),
    ],
)
def test_independent_accountants_agree(events: tuple[GaussianEvent, ...], delta: float) -> None:
    checked = cross_checked_epsilon(events, delta=delta)
    assert checked.epsilon == epsilon_of(events, delta=delta)
    assert checked.prv_low is not None
    assert checked.prv_high is not None
    assert checked.prv_low < checked.prv_high
    assert checked.epsilon <= checked.rdp + 2e-4


@pytest.mark.parametrize("factor", [0.96, 1.04, 2.0, 0.5])
@pytest.mark.parametrize("events", [(event(3.0, 0.1, 200),), (event(2.0),)])
def test_a_wrong_number_of_record_is_refused(
    events: tuple[GaussianEvent, ...], factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = accounting._epsilon
    accounting._cross_checked.cache_clear()
    monkeypatch.setattr(accounting, "_epsilon", lambda e, d: factor * right(e, d))
    with pytest.raises(PrivacyRefusal, match="disagree"):
        cross_checked_epsilon(events, delta=1e-5)
    monkeypatch.undo()
    accounting._cross_checked.cache_clear()
    assert cross_checked_epsilon(events, delta=1e-5).epsilon > 0


@pytest.mark.parametrize("factor", [0.9999, 1.001])
def test_the_closed_form_catches_a_small_error(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = accounting._epsilon
    accounting._cross_checked.cache_clear()
    monkeypatch.setattr(accounting, "_epsilon", lambda e, d: factor * right(e, d))
    with pytest.raises(PrivacyRefusal, match="exact formula"):
        cross_checked_epsilon([event(2.1)], delta=1e-5)


def test_a_failing_accountant_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    from opacus.accountants import PRVAccountant

    def failing(*_: object, **__: object) -> float:
        raise RuntimeError("Discrete mean differs")

    for broken, message in (
        (failing, "failed"),
        (lambda *_, **__: math.nan, "finite"),
        (lambda *_, **__: math.inf, "finite"),
    ):
        accounting._cross_checked.cache_clear()
        monkeypatch.setattr(PRVAccountant, "get_epsilon", broken)
        with pytest.raises(PrivacyRefusal, match=message):
            cross_checked_epsilon([event(3.3)], delta=1e-5)


def test_an_epsilon_above_rdp_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    accounting._cross_checked.cache_clear()
    monkeypatch.setattr(accounting, "_rdp_epsilon", lambda *_: 0.1)
    with pytest.raises(PrivacyRefusal, match="RDP"):
        cross_checked_epsilon([event(3.2)], delta=1e-5)


def test_no_guarantee_above_fifty() -> None:
    with pytest.raises(PrivacyRefusal, match="above 50"):
        cross_checked_epsilon([event(0.1)], delta=1e-5)


def test_importing_does_not_load_torch() -> None:
    code = (
        "import sys, fedward.common.privacy.plan, fedward.common.secure_sum.noise; "
        "sys.exit('torch' in sys.modules or 'opacus' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("noise", [0.2, 0.3, 0.35, 0.4, 0.5, 0.8, 1.2])
@pytest.mark.parametrize("count", [30, 1000])
def test_whether_a_bound_stands_in_for_pld_is_decided_as_by_all_orders(
    noise: float, count: int
) -> None:
    events = (GaussianEvent(noise_multiplier=noise, sampling_rate=0.3, count=count),)
    exact = gaussian_epsilon(noise_multiplier=noise / count**0.5, delta=1e-5)
    bound = min(exact, accounting.rdp_epsilon(events, delta=1e-5))

    expected = bound if exact > 55 and bound > 150 else None
    assert accounting._bound_instead_of_pld(events, 1e-5) == expected
