from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from fedward.simulations.report.table import print_table
from fedward.simulations.results import ExperimentResult

Maker = Callable[..., ExperimentResult]


def printed(result: ExperimentResult, *, width: int, colour: bool = False) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    print_table(result, console)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_table_fits_and_keeps_every_figure(experiment: Maker, width: int) -> None:
    result = experiment()
    text = printed(result, width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for arm in result.arms:
        for name in ("accuracy", "auroc", "worst_site_accuracy"):
            assert f"{arm.summary[name].mean:.3f}".removeprefix("0") in text
        if arm.epsilon_alone is not None:
            assert f"{arm.epsilon_alone:.2f}"[:-1] in text


def test_intervals_give_way_on_a_narrow_terminal_but_for_accuracy(experiment: Maker) -> None:
    result = experiment()
    rows = len(result.arms)
    caption = 1
    assert printed(result, width=140).count("±") == 3 * rows + caption
    assert printed(result, width=80).count("±") == rows + caption


def test_one_seed_has_no_interval(experiment: Maker) -> None:
    text = printed(experiment(seeds=1), width=140)
    assert "±" not in text
    assert "One seed" in text


def test_undefined_figures_are_dashes(experiment: Maker) -> None:
    line = printed(experiment(one_class=True), width=140).splitlines()[2]
    assert line.startswith("Each hospital alone")
    assert " - " in line


def test_reproducible_noise_is_announced_in_red(experiment: Maker) -> None:
    text = printed(experiment(insecure=41), width=140, colour=True)
    first = text.splitlines()[0]
    assert "no privacy guarantee holds" in first
    assert "41" in first
    assert "\x1b[1;31m" in first
    assert "guarantee" not in printed(experiment(), width=140)


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [80, 100])
def test_caption_says_whom_each_epsilon_is_for(experiment: Maker, width: int) -> None:
    bare = flat(printed(experiment(masked=False), width=width))
    assert (
        "ε is for whoever sees only the sums and the model, when at most 1 of 4 hospitals cheat. "
        "The releases were not masked: against the coordinator, ε alone is the number."
    ) in bare
    masked = flat(printed(experiment(), width=width))
    assert "ε holds when at most 1 of 4 hospitals cheat, ε alone when all others do." in masked
    assert "against the coordinator" not in masked


@pytest.mark.parametrize("width", [80, 100])
def test_the_last_lines_say_what_a_hospital_sends(experiment: Maker, width: int) -> None:
    assert (
        "Federated, distributed DP, ε = 1: a hospital sends 812 B and receives 2.5 kB in a round; "
        "23 attempts, 24 exchanges."
    ) in flat(printed(experiment(), width=width))
    assert "26.5 attempts, 3.5 of them lost, 27.5 exchanges." in flat(
        printed(experiment(drop_out=0.1), width=width)
    )
    assert "sends" not in printed(experiment(wire=False), width=width)


def test_the_coordinators_own_estimate_is_told_if_it_has_one(experiment: Maker) -> None:
    result = experiment()
    arm = next(
        arm
        for arm in result.arms
        if arm.kind == "federated_distributed" and arm.target_epsilon == 1.0
    )
    found = arm.charged_evaluation[0].groups[0].figures["accuracy"]
    text = flat(printed(result, width=140))
    assert (
        f"The coordinator itself measured, in seed 0: accuracy {found.value:.2f} "
        f"({found.low:.2f} to {found.high:.2f}), AUROC "
    ) in text
    assert "AUROC" not in flat(printed(experiment(one_class=True), width=140)).split("measured")[1]
    grouped = experiment(groups={"east": [0, 1], "others": [2, 3]}, epsilons=(1.0,))
    assert "measured" not in printed(grouped, width=140)
    assert "measured" not in printed(experiment(wire=False), width=140)


@pytest.mark.parametrize("width", [80, 100])
def test_rows_of_one_label_are_told_apart_by_epsilon(experiment: Maker, width: int) -> None:
    result = experiment()
    alike = [
        arm.model_copy(update={"label": "pooled, DP"})
        for arm in result.arms
        if arm.kind == "pooled_private"
    ]
    text = printed(result.model_copy(update={"arms": alike}), width=width)
    for epsilon in ("0.5", "1", "3", "8"):
        assert text.count(f"ε={epsilon} ") == 1


def test_markup_in_names_is_text(experiment: Maker) -> None:
    assert "[red]study[/red]" in printed(experiment(title="[red]study[/red]"), width=140)
