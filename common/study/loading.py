"""``study.toml`` from a file: read, validated, and checked beyond what its types can say."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from fedward.common.errors import InputError, InputErrors
from fedward.common.study.columns import MISSING_CATEGORY, design_columns
from fedward.common.study.definition import CategoricalFeature, Study
from fedward.common.study.recorded_values import same_value_key
from fedward.common.toml_documents import parse_toml, raise_all, read_toml_text
from fedward.common.validation_messages import suggestion

SHIPPED_PACKAGE = "fedward.studies"


def load_study(path: Path) -> Study:
    """Read a study file. Raises InputError or InputErrors naming the file, the field and a fix."""
    return parse_study(read_toml_text(path, kind="study file (.toml)"), source=str(path))


def parse_study(text: str, *, source: str) -> Study:
    """Validate the text of a study file; ``source`` names it in errors.

    Beyond the definition's own rules: no two categories or target values that are the same once
    read (such as "3" and "3.0"), and a model and options that the registry knows.
    """
    study = parse_toml(text, source=source, model=Study)
    problems = [*_ambiguous_values(study, source), *_model_problems(study, source)]
    if problems:
        raise_all(problems)
    return study


def shipped_studies() -> dict[str, Path]:
    """The sample studies of the package, by name."""
    folder = Path(str(resources.files(SHIPPED_PACKAGE)))
    files = sorted(folder.glob("*.toml"))
    return {file.stem: file for file in files if not file.name.endswith(".sites.toml")}


def find_study(name_or_path: str) -> Path:
    """The path of a study that the user named: a file, or a shipped study such as "heart_disease".

    A word that is neither a path nor a shipped name is an InputError that lists the names.
    """
    path = Path(name_or_path)
    shipped = shipped_studies()
    if path.exists() or name_or_path not in shipped:
        if path.suffix or len(path.parts) != 1 or path.exists():
            return path
        raise InputError(
            source=name_or_path,
            field="",
            problem="there is no such file, nor a sample study of that name",
            fix=suggestion(name_or_path, shipped),
        )
    return shipped[name_or_path]


def _ambiguous_values(study: Study, source: str) -> Iterator[InputError]:
    lists = {
        f"features[{index}].categories": feature.categories
        for index, feature in enumerate(study.features)
        if isinstance(feature, CategoricalFeature)
    }
    lists["target"] = (*study.target.positive, *study.target.negative)
    for field, values in lists.items():
        seen: dict[str, str] = {}
        for value in values:
            key = same_value_key(value)
            if not key or value == MISSING_CATEGORY:
                yield InputError(
                    source=source,
                    field=field,
                    problem=f"has the value {value!r}, which stands for missing data",
                    fix="remove it, and say what to do in the feature's missing rule",
                )
            elif key in seen:
                yield InputError(
                    source=source,
                    field=field,
                    problem=f"has {seen[key]!r} and {value!r}, which are the same value",
                    fix="keep one of them",
                )
            seen[key] = value


def _model_problems(study: Study, source: str) -> Iterator[InputError]:
    # Late, because the registry reads the study's definition and models may be costly to import.
    from fedward.common.models.registry import build_model

    try:
        build_model(study.model, columns=len(design_columns(study)))
    except InputErrors as errors:
        yield from (_from_file(error, source) for error in errors.errors)
    except InputError as error:
        yield _from_file(error, source)


def _from_file(error: InputError, source: str) -> InputError:
    return InputError(source=source, field=error.field, problem=error.problem, fix=error.fix)
