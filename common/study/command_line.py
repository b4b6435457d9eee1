"""``fedward study``: look at a study definition before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedward.common.study.columns import design_columns
from fedward.common.study.definition import Feature, NumericFeature, Study
from fedward.common.study.description import described, while_few_cheat
from fedward.common.study.loading import find_study, load_study, shipped_studies

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Check study definitions and list the samples."
)

FEATURES_SHOWN = 60

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
    rows = []
    if plan.scaler is not None:
        rows.append(("sigma of the scaler", _sigmas(plan.scaler.noise_multiplier, 1)))
    rows += [
        ("sigma of training", _sigmas(plan.training.noise_multiplier, plan.training.count)),
        ("epsilon", f"{plan.epsilon:.4f}, {while_few_cheat(plan.colluding)}"),
        ("epsilon alone", f"{plan.epsilon_alone:.4f} if every other site cheats"),
        ("delta", f"{plan.delta:g}"),
    ]
    return rows


def _sigmas(multiplier: float, count: int) -> str:
    sums = "one sum" if count == 1 else f"each of {count} sums"
    return f"{multiplier:.4g} times the clip, in {sums}"


def _plain(text: str) -> Text:
    """Text of the file as it is: no markup, and no control characters to the terminal."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))
