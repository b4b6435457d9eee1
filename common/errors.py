"""Errors that a user can mend: one sentence that names the file, the field and the fix."""

from __future__ import annotations

from functools import partial
from typing import Any


class FedwardError(Exception):
    """Base of every error that fedward raises on purpose.

    ``exit_code`` is what the command line ends with after printing it.
    """

    exit_code = 2


class InputError(FedwardError):
    """Input of the user's that cannot be used.

    ``str(error)`` is one sentence a problem: ``<source>: <field> <problem>; <fix>.`` The command
    line prints it and exits with code 2.
    """

    def __init__(self, *, source: str, field: str, problem: str, fix: str) -> None:
        self.source = source
        self.field = field
        self.problem = problem
        self.fix = fix
        subject = f"{field} " if field else ""
        super().__init__(f"{source}: {subject}{problem}; {fix}.")

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is pickled by its message alone, which is not what makes this one.
        again = partial(
            InputError, source=self.source, field=self.field, problem=self.problem, fix=self.fix
        )
        return again, ()


class InputErrors(FedwardError):
    """Several :class:`InputError` of one file, reported together, a line each."""

    def __init__(self, errors: list[InputError]) -> None:
        if not errors:
            raise ValueError("InputErrors needs at least one error")
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in errors))

    def __reduce__(self) -> tuple[Any, ...]:
        return InputErrors, (list(self.errors),)


class PrivacyRefusal(FedwardError):
    """Privacy could not be shown to hold, so nothing was computed. Says why in one sentence."""


class Interrupted(FedwardError):
    """The user stopped a command; the message says how to continue it."""

    exit_code = 130
