"""The registry of model families: a name in ``study.toml`` becomes a model that all sites share.

Only models built here may meet patient data: their modules are known to treat every row alone,
which no validator can find out about somebody's own layer (``x - x.mean(0)`` passes Opacus's).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from fedward.common.errors import InputError, InputErrors
from fedward.common.study.definition import Model

if TYPE_CHECKING:
    import torch

MODULES = ("logistic_regression", "mlp")
"""Modules of this package that register a family; imported when the first model is built."""


class ModelOptions(BaseModel):
    """Base of a family's options: frozen, unknown keys are errors, every value has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelFamily(Protocol):
    """A model of known shape, without parameters; those are one flat float64 vector beside it.

    Immutable and hashable. Rows are independent: the output for a row depends on that row and the
    parameters alone.
    """

    @property
    def columns(self) -> int:
        """How many design columns a row has."""
        ...

    @property
    def parameter_count(self) -> int:
        """Length of the flat parameter vector."""
        ...

    def __hash__(self) -> int: ...

    def initial(self, seed: int) -> NDArray[np.float64]:
        """Starting parameters ``[parameter_count]``, the same for the same seed. No torch."""
        ...

    def predict(
        self, parameters: NDArray[np.float64], features: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Probability of the positive class ``[rows]``, of ``features [rows, columns]``; numpy."""
        ...

    def module(self, parameters: NDArray[np.float64]) -> torch.nn.Module:
        """A float64 torch module with exactly these parameters; it returns logits ``[rows]``."""
        ...

    def row_losses(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of each row, ``[rows]``, of the module's outputs against the target."""
        ...

    def flatten(self, module: torch.nn.Module) -> NDArray[np.float64]:
        """The module's parameters as the flat vector: the inverse of :meth:`module`."""
        ...


Family = TypeVar("Family", bound=type[Any])
_families: dict[str, type[Any]] = {}


def register(name: str) -> Callable[[Family], Family]:
    """Enter a class under ``name``.

    The class is called as ``cls(options=..., columns=...)``, meets :class:`ModelFamily`, and its
    attribute ``options_type`` is its :class:`ModelOptions`.
    """

    def enter(family: Family) -> Family:
        if name in _families:
            raise ValueError(f"a model named {name!r} is registered already")
        _families[name] = family
        return family

    return enter


def registered_names() -> tuple[str, ...]:
    """All names that ``model.name`` may have, sorted."""
    for module in MODULES:
        import_module(f"{__package__}.{module}")
    return tuple(sorted(_families))


def is_registered(model: object) -> bool:
    """Whether ``model`` is of a class from this registry (itself, not a subclass)."""
    registered_names()
    return type(model) in _families.values()


def build_model(model: Model, *, columns: int) -> ModelFamily:
    """The model that ``study.toml`` names, for ``columns`` design columns.

    Raises :class:`InputError` (or :class:`InputErrors`, where several options are wrong) naming
    the field of the study, for an unknown name, an unknown option or a value out of range.
    """
    if columns < 1:
        raise ValueError("a model needs at least one column")
    names = registered_names()
    if model.name not in names:
        raise InputError(
            source="study",
            field="model.name",
            problem=f"is {model.name!r}, which is no known model",
            fix=f"use one of {', '.join(names)}",
        )
    family = _families[model.name]
    try:
        options = family.options_type.model_validate(model.options)
    except ValidationError as error:
        details = error.errors()
        # A list with a wrong entry is reported as too short as well: the entry says enough.
        inner = [d for d in details if not any(_inside(e["loc"], d["loc"]) for e in details)]
        problems = [_input_error(detail, model.name, family) for detail in inner]
        raise problems[0] if len(problems) == 1 else InputErrors(problems) from None
    built: ModelFamily = family(options=options, columns=columns)
    return built


def _inside(loc: tuple[int | str, ...], parent: tuple[int | str, ...]) -> bool:
    return len(loc) > len(parent) and loc[: len(parent)] == parent


def _input_error(detail: Any, name: str, family: type[Any]) -> InputError:
    field = ".".join(["model", "options", *map(str, detail["loc"])])
    if detail["type"] == "extra_forbidden":
        known = ", ".join(family.options_type.model_fields)
        return InputError(
            source="study",
            field=field,
            problem=f"is not an option of {name}",
            fix=f"use one of {known}" if known else f"remove it: {name} has no options",
        )
    message = detail["msg"]
    return InputError(
        source="study",
        field=field,
        problem=f"is {detail['input']!r}, but {message[0].lower()}{message[1:]}",
        fix="change it",
    )
