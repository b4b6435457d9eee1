from __future__ import annotations

import json
import math
import os
import re
import statistics
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fedward.simulations.report import page
from fedward.simulations.report.page import render_page, write_report
from fedward.simulations.results import ExperimentResult, Metrics

Maker = Callable[..., ExperimentResult]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """Tags with their attributes, ids, and tables as rows of cells (text, machine values)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: dict[str, list[list[tuple[str, list[str]]]]] = {}
        self._table = ""
        self._cell = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = values.get("id") or f"table-{len(self.tables)}"
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in {"td", "th"}:
            self.tables[self._table][-1].append(("", []))
            self._cell = True
        elif tag == "data" and self._cell:
            self.tables[self._table][-1][-1][1].append(values.get("value") or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in {"td", "th"}:
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            text, values = self.tables[self._table][-1][-1]
            self.tables[self._table][-1][-1] = (text + data, values)

    def rows(self, table: str) -> list[list[tuple[str, list[str]]]]:
        return self.tables[table][1:]

    @property
    def ids(self) -> list[str]:
        return [found for _, attrs in self.tags if (found := attrs.get("id"))]


@pytest.fixture(scope="module")
def result(experiment: Maker) -> ExperimentResult:
    return experiment()


@pytest.fixture(scope="module")
def written(result: ExperimentResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(result, tmp_path_factory.mktemp("runs") / "deeper" / "run")


@pytest.fixture(scope="module")
def text(written: Path) -> str:
    return written.read_text("utf-8")


def test_page_asks_nothing_of_the_outside(text: str) -> None:
    reader = Reader(text)
    assert reader.open == []
    assert not re.search(r"https?:|//www|@import|@font-face|javascript:", text)
    assert set(re.findall(r"url\(([^)]*)\)", text)) == set(re.findall(r"url\((#[^)]*)\)", text))
    forbidden = {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
    assert not forbidden & {tag for tag, _ in reader.tags}
    for _, attrs in reader.tags:
        assert not {"src", "srcset", "data", "action"} & set(attrs)
        assert not any(name.startswith("on") for name in attrs)
        for name in ("href", "xlink:href"):
            target = attrs.get(name)
            assert target is None or target.startswith("#") or target == "results.json"


def test_ids_are_unique_and_every_reference_finds_one(text: str) -> None:
    reader = Reader(text)
    assert len(reader.ids) == len(set(reader.ids))
    wanted = set(re.findall(r"url\(#([^)]*)\)", text))
    for _, attrs in reader.tags:
        target = attrs.get("href") or ""
        if target.startswith("#"):
            wanted.add(target[1:])
        wanted.update((attrs.get("aria-labelledby") or "").split())
    assert wanted <= set(reader.ids)


def test_pictures_and_tables_are_named_for_those_who_cannot_see_them(text: str) -> None:
    reader = Reader(text)
    pictures = [attrs for tag, attrs in reader.tags if tag == "svg" and "aria-hidden" not in attrs]
    assert len(pictures) > 10
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] for attrs in pictures)
    assert text.count("<caption>") == len(reader.tables)
    regions = [attrs for tag, attrs in reader.tags if attrs.get("class") == "scroll"]
    assert regions
    assert all(attrs.get("tabindex") == "0" and attrs.get("aria-label") for attrs in regions)
    assert "<html lang=" in text
    # Words in a plot are words, so that they can be read out and found.
    assert re.search(r"<text[^>]*>epsilon \(log scale", text)


def test_the_table_shows_the_numbers_of_the_json(written: Path) -> None:
    document = json.loads(written.with_name("results.json").read_text("utf-8"))
    rows = Reader(written.read_text("utf-8")).rows("results-table")
    assert len(rows) == len(document["arms"]) == 15
    names = ["accuracy", "auroc", "sensitivity", "specificity", "f1", "worst_site_accuracy"]
    for row, arm in zip(rows, document["arms"], strict=True):
        assert row[0][0].replace("\u00a0", " ") == arm["label"]
        for (shown, values), name in zip(row[1:7], names, strict=True):
            found = arm["summary"][name]
            assert values == [repr(found["mean"])]
            half = found["high"] - found["mean"]
            assert shown == f"{found['mean']:.3f} ± {half:.3f}"
        for (shown, values), key in zip(row[7:9], ("epsilon", "epsilon_alone"), strict=True):
            if arm[key] is None:
                assert (shown, values) == ("-", [])
            else:
                assert values == [repr(arm[key])]
                assert float(shown) == pytest.approx(math.ceil(arm[key] * 100 - 1e-6) / 100)
        seconds = arm["summary"]["seconds"]["mean"]
        assert row[9] == (f"{seconds:.1f}", [repr(seconds)])


def test_sites_show_the_means_of_the_json(result: ExperimentResult, text: str) -> None:
    reader = Reader(text)
    for figure in ("accuracy", "auroc"):
        for row, arm in zip(reader.rows(f"by-site-{figure}"), result.arms, strict=True):
            for (shown, _), site in zip(row[1:], result.sites, strict=True):
                values = [getattr(seed.by_site[site.name], figure) for seed in arm.seeds]
                known = [value for value in values if value is not None]
                assert shown == (f"{statistics.fmean(known):.3f}" if known else "-")


def test_other_tables_show_the_numbers_of_the_json(result: ExperimentResult, text: str) -> None:
    reader = Reader(text)
    private = [arm for arm in result.arms if arm.epsilon is not None]
    for row, arm in zip(reader.rows("cross-check"), private, strict=True):
        assert arm.cross_check is not None
        wanted = (
            arm.epsilon,
            arm.cross_check.prv_low,
            arm.cross_check.prv_high,
            arm.cross_check.rdp,
        )
        assert [cell[0] for cell in row[1:]] == [f"{value:.4f}" for value in wanted]
    for row, arm in zip(reader.rows("meaning-table"), private, strict=True):
        assert arm.epsilon is not None
        guess = (math.exp(arm.epsilon) + 1e-5) / (math.exp(arm.epsilon) + 1)
        assert float(row[3][0].removesuffix(" %")) == pytest.approx(100 * guess, abs=0.11)
        assert float(row[3][0].removesuffix(" %")) >= 100 * guess
    for row, site in zip(reader.rows("hospitals-table"), result.sites, strict=True):
        share = f"{100 * site.training_positive_share:.1f} %"
        assert [cell[0] for cell in row] == [
            site.name,
            str(site.training_patients),
            str(site.held_out_patients),
            share,
        ]


def test_json_comes_back_as_the_same_result(result: ExperimentResult, written: Path) -> None:
    document = written.with_name("results.json").read_text("utf-8")
    assert ExperimentResult.model_validate_json(document) == result


def test_equal_results_give_equal_bytes(result: ExperimentResult, text: str) -> None:
    assert render_page(result) == text


def test_rows_of_one_label_are_told_apart_by_epsilon(result: ExperimentResult) -> None:
    private = [arm for arm in result.arms if arm.kind == "federated_distributed"]
    alike = [arm.model_copy(update={"label": "distributed DP"}) for arm in private]
    reader = Reader(render_page(result.model_copy(update={"arms": alike})))
    for table in ("results-table", "meaning-table", "by-site-accuracy"):
        assert [row[0][0].replace("\u00a0", " ") for row in reader.rows(table)] == [
            f"distributed DP, ε = {epsilon}" for epsilon in ("0.5", "1", "3", "8")
        ]


def test_a_small_epsilon_has_its_tick(experiment: Maker) -> None:
    text = render_page(experiment(epsilons=(0.03, 1.0)))
    assert re.search(r"<text[^>]*>0\.03</text>", text)
    assert re.search(r"<text[^>]*>1</text>", text)


def test_hostile_text_stays_text(experiment: Maker, tmp_path: Path) -> None:
    evil = "</title><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} $x^2$ & \"'"
    result = experiment(title=evil, epsilons=(1.0,))
    sites = [result.sites[0].model_copy(update={"name": evil}), *result.sites[1:]]
    arms = [result.arms[0].model_copy(update={"label": evil}), *result.arms[1:]]
    result = result.model_copy(
        update={
            "sites": sites,
            "arms": arms,
            "notes": [evil],
            "command": evil,
            "data_description": evil,
            "training_description": evil,
            "engine": evil,
            "versions": {evil: evil},
        }
    )
    reader = Reader(write_report(result, tmp_path).read_text("utf-8"))
    assert reader.open == []
    assert not {"script", "img"} & {tag for tag, _ in reader.tags}
    assert reader.rows("hospitals-table")[0][0][0] == evil
    assert reader.rows("results-table")[0][0][0] == evil


def test_banner_is_there_exactly_when_the_noise_was_reproducible(
    experiment: Maker, text: str
) -> None:
    # A seed of 0 is a seed.
    insecure = render_page(experiment(insecure=0, epsilons=(1.0,)))
    alarm = next(attrs for tag, attrs in Reader(insecure).tags if attrs.get("role") == "alert")
    assert alarm["class"] == "alarm"
    assert insecure.index('role="alert"') < insecure.index("<h1>")
    assert "insecure_noise_seed = 0" in insecure
    assert "noise is fresh" not in insecure
    assert 'role="alert"' not in text
    assert "No privacy guarantee" not in text


def test_without_masks_the_page_says_whom_each_epsilon_is_for(experiment: Maker) -> None:
    shown = " ".join(render_page(experiment(masked=False)).split())
    assert "epsilon 1.00 (1.94 against the coordinator) reaches" in shown
    # In the text, in both captions, in the legend and on the card.
    assert "In this run releases were not masked" in shown
    assert "against the coordinator, epsilon alone is the number" in shown
    assert "so against the coordinator &epsilon; alone is the number" in shown
    assert "&epsilon; alone: for the coordinator." in shown
    assert "so the coordinator sees each part" in shown
    assert "ε 1.00 for whoever sees only the sums and the model, 1.94" in shown
    for wrong in ("only the sum of all is seen", "no single contribution", "releases were masked"):
        assert wrong not in shown


def test_with_masks_the_page_speaks_of_sums_only(text: str) -> None:
    shown = " ".join(text.split())
    assert "only the sum of all is seen" in shown
    assert "the coordinator sees the sum of all hospitals, no single contribution" in shown
    for wrong in (
        "not masked",
        "no masks",
        "against the coordinator",
        "whoever sees only",
        "sees each",
    ):
        assert wrong not in shown


@pytest.mark.parametrize("masked", [True, False])
def test_what_was_not_checked_is_not_said_to_be(experiment: Maker, masked: bool) -> None:
    shown = render_page(experiment(masked=masked, epsilons=(1.0,)))
    assert "Epsilon alone is not cross-checked." in shown
    assert "the declared noise of every executed release" in shown
    assert "really added" not in shown
    assert "the most that privacy leaves possible" not in shown


def test_undefined_figures_are_dashes(experiment: Maker) -> None:
    text = render_page(experiment(one_class=True, epsilons=(1.0,)))
    reader = Reader(text)
    assert all(row[2] == ("-", []) for row in reader.rows("results-table"))
    assert all(cell[0] == "-" for row in reader.rows("by-site-auroc") for cell in row[1:])
    assert "None" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    assert not re.search(r"\bnan\b", text)


def test_one_seed_has_no_interval_and_says_so(experiment: Maker) -> None:
    text = render_page(experiment(seeds=1, epsilons=(1.0,)))
    cells = [cell for row in Reader(text).rows("results-table") for cell in row]
    assert not any("±" in cell[0] for cell in cells)
    assert "one seed, so there is no confidence interval" in text


def test_many_sites_are_summed_up(experiment: Maker) -> None:
    result = experiment(sites=100)
    text = render_page(result)
    reader = Reader(text)
    assert len(reader.rows("by-site-table")) == len(result.arms)
    assert len(reader.rows("hospitals-table")) == 3
    assert {"site-strips-title", "sizes-title", "shares-title"} <= set(reader.ids)
    assert len(text) < 1_000_000
    for row, arm in zip(reader.rows("by-site-table"), result.arms, strict=True):
        means = {
            site.name: statistics.fmean(seed.by_site[site.name].accuracy for seed in arm.seeds)
            for site in result.sites
        }
        worst = min(means, key=lambda name: means[name])
        assert row[1][0] == f"{means[worst]:.3f}"
        assert means[row[2][0]] == pytest.approx(means[worst])
        assert row[3][0] == f"{statistics.median(means.values()):.3f}"
        assert row[4][0] == f"{max(means.values()):.3f}"


def test_a_result_without_private_arms_speaks_of_no_epsilon(result: ExperimentResult) -> None:
    bare = result.model_copy(update={"arms": [a for a in result.arms if a.epsilon is None]})
    text = render_page(bare)
    assert "noised sums leave" not in text
    assert 'id="meaning"' not in text
    assert "#meaning" not in text
    assert "masked" not in text
    assert Reader(text).open == []


def test_a_site_without_held_out_patients_has_no_figure(result: ExperimentResult) -> None:
    name = result.sites[0].name
    empty = Metrics(
        patients=0, accuracy=0, auroc=None, sensitivity=None, specificity=None, f1=None, brier=0
    )
    arm = result.arms[0]
    seeds = [s.model_copy(update={"by_site": {**s.by_site, name: empty}}) for s in arm.seeds]
    changed = result.model_copy(update={"arms": [arm.model_copy(update={"seeds": seeds})]})
    assert Reader(render_page(changed)).rows("by-site-accuracy")[0][1][0] == "-"


def test_an_older_report_survives_a_failed_one(
    result: ExperimentResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "render_page", lambda result: result.study_title)
    write_report(result, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"report.html", "results.json"}
    changed = result.model_copy(update={"study_title": "Another"})

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space"):
            write_report(changed, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    with monkeypatch.context() as broken:
        broken.setattr(page, "render_page", lambda result: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_report(changed, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    write_report(changed, tmp_path)
    assert "Another" in (tmp_path / "report.html").read_text("utf-8")


def shown_figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def test_what_the_coordinator_measured_stands_beside_the_exact_figures(
    result: ExperimentResult, text: str
) -> None:
    private = [arm for arm in result.arms if arm.kind.startswith("federated") and arm.epsilon]
    table = Reader(text).tables["measured-table"]
    names = {"Patients": "patients", "Accuracy": "accuracy", "AUROC": "auroc", "Brier": "brier"}
    assert [cell[0] for cell in table[0]] == ["Model", *list(names)[:3], "Brier score"]

    for row, arm in zip(table[1:], private, strict=True):
        assert row[0][0].replace("\u00a0", " ") == arm.label
        (group,) = arm.charged_evaluation[0].groups
        for (shown, values), name in zip(row[1:], names.values(), strict=True):
            found, digits = group.figures[name], 0 if name == "patients" else 3
            low, high, exact = (
                shown_figure(value, digits) for value in (found.low, found.high, found.full_view)
            )
            assert shown == f"{shown_figure(found.value, digits)} {low} to {high}exact {exact}"
            assert values == [repr(found.value)]
    counts = private[0].charged_evaluation[0].counts
    assert Reader(text).rows("counted-table")[0][1] == (
        "171 160 to 183exact 170",
        [repr(counts["positive"].value)],
    )


def test_groups_and_single_hospitals_are_named_where_there_are_any(experiment: Maker) -> None:
    one = Reader(render_page(experiment(epsilons=(1.0,))))
    several = Reader(
        render_page(
            experiment(
                epsilons=(1.0, 3.0), groups={"east": [0, 1], "others": [2, 3]}, per_site=True
            )
        )
    )

    assert "measured-by-site" not in one.tables
    assert [row[1][0] for row in several.rows("measured-table")] == ["east", "others"] * 4
    hospitals = ["hospital_a", "hospital_b", "hospital_c", "hospital_d"]
    # One epsilon of each way, or the table would have no end.
    assert [row[1][0] for row in several.rows("measured-by-site")] == hospitals * 2


def test_a_figure_that_the_noise_hides_is_a_dash(experiment: Maker) -> None:
    text = render_page(experiment(one_class=True, epsilons=(1.0,)))
    assert Reader(text).rows("measured-table")[0][3] == ("-exact -", [])


def test_the_wire_table_shows_the_numbers_of_the_json(result: ExperimentResult, text: str) -> None:
    reader = Reader(text)
    federated = [arm for arm in result.arms if arm.kind.startswith("federated")]
    for row, arm in zip(reader.rows("wire-table"), federated, strict=True):
        assert row[0][0].replace("\u00a0", " ") == arm.label
        assert [cell[0] for cell in row[1:]] == [
            "812 B", "2.5 kB", "24", "1", "23", "0", "0", "7.89 ms", "0.46 ms", "1.23 ms",
        ]  # fmt: skip
    assert [[cell[0] for cell in row] for row in reader.rows("wire-kinds")] == [
        ["moments of the features", "1", "1", "2.4 kB", "807 B"],
        ["a round of training", "20", "20", "2.4 kB", "808 B"],
        ["evaluation of a group of hospitals", "1", "1", "2.4 kB", "810 B"],
        ["counts of training patients", "1", "1", "2.4 kB", "806 B"],
    ]


def test_drop_outs_are_told_where_there_were_any(experiment: Maker, text: str) -> None:
    shown = " ".join(render_page(experiment(drop_out=0.125, epsilons=(1.0,))).split())
    assert "made to fail an exchange with a chance of 12.5 %" in shown
    assert "asked again without the hospital that failed" in shown
    assert "made to fail" not in text


def test_a_run_without_messages_has_no_section_about_them(experiment: Maker) -> None:
    bare = render_page(experiment(wire=False, epsilons=(1.0,)))
    for name in ("wire", "measured"):
        assert f'id="{name}"' not in bare
        assert f'href="#{name}"' not in bare
