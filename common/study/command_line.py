"""``fedward study``: look at a study definition before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedward.common.privacy.sum_plan import Part, SumKind, SumPlan
from fedward.common.study.columns import design_columns
from fedward.common.study.definition import Feature, NumericFeature, Study
from fedward.common.study.description import described, while_few_cheat
from fedward.common.study.loading import find_study, load_study, shipped_studies

if TYPE_CHECKING:
    from fedward.common.privacy.plan import PrivacyPlan

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Check study definitions and list the samples."
)

FEATURES_SHOWN = 60
SUM_NAMES: dict[SumKind, str] = {
    "moments": "the scaler",
    "training": "training",
    "evaluation": "the evaluation",
    "site_evaluation": "each site's own evaluation",
    "counts": "the counts by outcome",
}

StudyFile = Annotated[str, typer.Argument(metavar="FILE", help="A study.toml, or a sample's name.")]
Sites = Annotated[
    int | None, typer.Option(min=1, help="Also show the noise and epsilons for so many sites.")
]


@app.command("list")
def list_studies() -> None:
    """List the sample studies that come with fedward."""
    table = Table("name", "title", "file", title="Sample studies")
    for name, path in shipped_studies().items():
        table.add_row(name, _plain(load_study(path).about.title), Text(str(path), overflow="fold"))
    Console().print(table)


@app.command()
def check(file: StudyFile, sites: Sites = None) -> None:
    """Check a study definition and say in plain words what it agrees on."""
    study = load_study(find_study(file))
    # Before anything is printed, as it may refuse.
    plan = None if sites is None else _privacy_rows(study, sites)
    console = Console()
    console.print(_features_table(study))
    console.print(_agreed_table(study))
    if plan is not None:
        table = Table("privacy plan", "", title=f"With {sites} sites")
        for name, value in plan:
            table.add_row(name, value)
        console.print(table)
    console.print(Text(f"{Path(file).name} is a valid study.", style="green"))


def _features_table(study: Study) -> Table:
    table = Table("feature", "unit", "range or categories", "if missing")
    table.title = _plain(f"{study.about.title}: {len(study.features)} features")
    for feature in study.features[:FEATURES_SHOWN]:
        table.add_row(*map(_plain, _feature_row(feature)))
    if len(study.features) > FEATURES_SHOWN:
        table.add_row(f"and {len(study.features) - FEATURES_SHOWN} more", "", "", "")
    return table


def _feature_row(feature: Feature) -> tuple[str, str, str, str]:
    missing = feature.missing.replace("_", " ")
    if isinstance(feature, NumericFeature):
        low, high = feature.range
        return feature.name, feature.unit, f"{low:g} to {high:g}", missing
    return feature.name, "category", ", ".join(feature.categories), missing


def _agreed_table(study: Study) -> Table:
    table = Table("agreed", "", title=_plain(f"{study.about.name}, version {study.about.version}"))
    for name, value in described(study, columns=len(design_columns(study))):
        table.add_row(name, _plain(value))
    table.add_row("digest", Text(study.digest, overflow="fold"))
    return table


def _privacy_rows(study: Study, sites: int) -> list[tuple[str, str]]:
    # Late: the accountants take seconds to import.
    from fedward.common.privacy.plan import plan_for
    from fedward.common.study.dimensions import Dimensions

    plan = plan_for(study, sites=sites, coordinates=Dimensions.of(study).longest)
    rows = [(f"sigma of {SUM_NAMES[kind]}", _sigmas(sum_)) for kind, sum_ in plan.sums.items()]
    rows += _epsilon_rows(plan, "training")
    if plan.sums_of_part("held_out"):
        rows += _epsilon_rows(plan, "held_out")
    spares = study.privacy.spare_attempts
    rows += [
        ("delta", f"{plan.delta:g}"),
        ("spare attempts", f"{spares} of each kind, paid for above" if spares else "none"),
    ]
    return rows


def _epsilon_rows(plan: PrivacyPlan, part: Part) -> list[tuple[str, str]]:
    epsilon, alone = plan.epsilon_of_part(part), plan.epsilon_alone_of_part(part)
    whom = f"epsilon, {part.replace('_', ' ')} patients"
    return [
        (whom, f"{epsilon:.4f}, {while_few_cheat(plan.colluding)}"),
        (f"{whom}, alone", f"{alone:.4f} if every other site cheats"),
    ]


def _sigmas(plan: SumPlan) -> str:
    sums = "one sum" if plan.count == 1 else f"each of {plan.count} sums"
    return f"{plan.noise_multiplier:.4g} times the clip, in {sums}"


def _plain(text: str) -> Text:
    """Text of the file as it is: no markup, and no control characters to the terminal."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))
