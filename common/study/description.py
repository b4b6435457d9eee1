"""What a study agrees on, in plain words."""

from __future__ import annotations

import json

from fedward.common.study.definition import DistributedTraining, Evaluation, LocalTraining, Study


def described(study: Study, *, columns: int) -> list[tuple[str, str]]:
    """Pairs of a topic and a sentence on it, for people; ``columns`` is the design's width."""
    cohort = study.cohort
    return [
        (
            "target",
            f"{study.target.name}: {', '.join(study.target.positive)} against "
            f"{', '.join(study.target.negative)}",
        ),
        (
            "cohort",
            f"{cohort.expected_patients} training patients expected over at least "
            f"{cohort.minimum_sites} sites; the {cohort.privacy_unit} is what is protected",
        ),
        ("scaling", describe_scaling(study)),
        ("model", f"{describe_model(study)} on {columns} columns"),
        ("training", describe_training(study)),
        ("statistics", describe_statistics(study)),
        ("privacy", describe_privacy(study)),
        ("evaluation", describe_evaluation(study)),
    ]


def describe_scaling(study: Study) -> str:
    """How columns are scaled."""
    if study.scaling.method == "private_moments":
        return (
            f"noised means and spreads, for {study.scaling.budget_share:.0%} of the privacy budget"
        )
    return "the public ranges alone"


def describe_model(study: Study) -> str:
    """The model's name, and its options if it has any."""
    name = study.model.name.replace("_", " ")
    options = ", ".join(f"{key} = {json.dumps(v)}" for key, v in study.model.options.items())
    return f"{name} ({options})" if options else name


def describe_training(study: Study) -> str:
    """How the model is trained."""
    training = study.training
    steps = f"learning rate {training.learning_rate:g}, momentum {training.momentum:g}"
    if isinstance(training, LocalTraining):
        return (
            f"{training.rounds} rounds of DP-SGD at each site, "
            f"{training.steps_per_round} steps a round on {training.sampling_rate:.3g} of its "
            f"patients each ({steps}), combined by {training.combine}"
        )
    return f"{_distributed(training)} ({steps}, {training.schedule} schedule)"


def _distributed(training: DistributedTraining) -> str:
    whom = (
        "all patients"
        if training.batch == "full"
        else f"a random {training.sampling_rate:.3g} of the patients"
    )
    return f"{training.rounds} rounds, each one noised gradient sum over {whom} of all sites"


def describe_statistics(study: Study) -> str:
    """What is asked about the training patients beside training."""
    if study.statistics is None:
        return "none"
    return (
        "noised numbers of training patients by outcome, for "
        f"{study.statistics.budget_share:.0%} of the privacy budget"
    )


def describe_privacy(study: Study) -> str:
    """The guarantee, and against whom it holds."""
    privacy = study.privacy
    bound = f"epsilon at most {privacy.epsilon:g} at delta {privacy.delta:g}, clip {privacy.clip:g}"
    if privacy.spare_attempts:
        each = "1 sum" if privacy.spare_attempts == 1 else f"{privacy.spare_attempts} sums"
        bound += f", {each} of each kind to spare for drop-outs"
    if privacy.trust == "none":
        return f"{bound}; each site adds all of the noise itself"
    return f"{bound}; noise is shared, and enough {while_few_cheat(privacy.colluding)}"


def describe_evaluation(study: Study) -> str:
    """Who is held out, and what is released about them."""
    evaluation = study.evaluation
    return (
        f"{evaluation.holdout:.0%} of the patients of each site are held out; from a probability "
        f"of {evaluation.threshold:g} on, a patient counts as positive; {_released(evaluation)}"
    )


def _released(evaluation: Evaluation) -> str:
    released = []
    if evaluation.release:
        groups = [f"{name} ({len(sites)} sites)" for name, sites in evaluation.groups.items()]
        over = f"for each of {', '.join(groups)} and any others" if groups else "over all sites"
        released.append(f"one noised sum {over}")
    if evaluation.per_site:
        released.append("a noised sum of each site by itself")
    if not released:
        return "nothing about them is released"
    return f"released: {' and '.join(released)}"


def while_few_cheat(colluding: int) -> str:
    """The condition under which ``epsilon`` holds."""
    if colluding == 0:
        return "while no site cheats"
    return f"while at most {colluding} site{' cheats' if colluding == 1 else 's cheat'}"
