from __future__ import annotations

import re

import pytest

from fedward.audits.report.document import Account, AuditReport, SiteBooks
from fedward.audits.report.spending_plot import MOST_SITES, drawn_sites, spending_pictures


def points(svg: str, style: str) -> list[tuple[float, float]]:
    found = re.findall(rf'<polyline class="{style}" points="([^"]*)"', svg)
    assert len(found) == 1
    return [tuple(map(float, pair.split(","))) for pair in found[0].split()]  # type: ignore[misc]


def words(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def cohort(site: SiteBooks) -> Account:
    return next(account for account in site.accounts if account.kind == "cohort")


def with_cohort(site: SiteBooks, account: Account) -> SiteBooks:
    others = tuple(other for other in site.accounts if other.kind == "study")
    return site.model_copy(update={"accounts": (account, *others)})


def picture_of(site: SiteBooks) -> str:
    ((_, picture),) = spending_pictures(site, number=0)
    return str(picture.svg)


def test_lines_rise_to_what_was_spent(body: AuditReport) -> None:
    site = body.sites[0]
    ((caption, picture),) = spending_pictures(site, number=3)
    assert caption == "site-0: patients"
    svg = str(picture.svg)
    for style in ("epsilon-line", "alone-line"):
        heights = [y for _, y in points(svg, style)]
        assert heights == sorted(heights, reverse=True)
        assert heights[0] > heights[-1]
    # Epsilon alone is the larger one, so its line ends higher.
    assert points(svg, "alone-line")[-1][1] < points(svg, "epsilon-line")[-1][1]
    assert "3.00" in words(svg)
    assert "cap" in words(svg)
    assert "Epsilon rises to 3.00" in picture.description
    assert 'id="spent-3-0-title"' in svg


def test_a_run_within_an_hour_is_drawn_by_entries_and_a_long_one_by_time(
    body: AuditReport,
) -> None:
    site = body.sites[0]
    assert any("entry of the ledger" in word for word in words(picture_of(site)))
    account = cohort(site)
    later = account.moments[-1].model_copy(update={"time": "2027-03-01T00:00:00Z"})
    slow = account.model_copy(update={"moments": (*account.moments[:-1], later)})
    shown = words(picture_of(with_cohort(site, slow)))
    assert "2027-03-01" in shown
    assert "time (UTC)" in shown


def test_a_cap_far_away_is_left_out(body: AuditReport) -> None:
    far = cohort(body.sites[0]).model_copy(update={"epsilon_cap": 500.0})
    svg = picture_of(with_cohort(body.sites[0], far))
    assert 'class="cap"' not in svg
    assert "cap" not in words(svg)


def test_epsilons_far_apart_are_drawn_on_a_logarithmic_scale(body: AuditReport) -> None:
    account = cohort(body.sites[0])
    moments = tuple(
        moment.model_copy(update={"epsilon_alone": 40 * (moment.epsilon or 0)})
        for moment in account.moments
    )
    far = account.model_copy(
        update={"moments": moments, "epsilon_alone": moments[-1].epsilon_alone}
    )
    svg = picture_of(with_cohort(body.sites[0], far))
    rise = points(svg, "epsilon-line")
    assert rise[-1][1] < rise[0][1] - 10
    assert {"10", "100"} & set(words(svg))


def test_an_account_without_epsilon_or_releases_has_no_picture(body: AuditReport) -> None:
    account = cohort(body.sites[0])
    for fields in ({"epsilon": None}, {"moments": ()}):
        bare = with_cohort(body.sites[0], account.model_copy(update=fields))
        assert list(spending_pictures(bare, number=0)) == []


def test_several_studies_have_a_line_each(body: AuditReport) -> None:
    site = body.sites[0]
    study = next(account for account in site.accounts if account.kind == "study")
    line = study.charges[0].model_copy(update={"study_digest": "d" * 64})
    second = study.model_copy(update={"study_digest": "d" * 64})
    account = cohort(site)
    account = account.model_copy(update={"charges": (*account.charges, line)})
    both = site.model_copy(update={"accounts": (account, study, second)})
    assert picture_of(both).count('class="study-line"') == 2


@pytest.mark.parametrize("count", [MOST_SITES, MOST_SITES + 5])
def test_of_many_sites_those_that_spent_most_are_drawn(count: int, body: AuditReport) -> None:
    account = cohort(body.sites[0])
    sites = [
        with_cohort(
            body.sites[0].model_copy(update={"site": f"site-{number}"}),
            account.model_copy(update={"epsilon": 4.0 + number}),
        )
        for number in range(count)
    ]
    drawn = [site.site for site in drawn_sites(sites)]
    assert len(drawn) == MOST_SITES
    assert set(drawn) == {f"site-{number}" for number in range(count - MOST_SITES, count)}
