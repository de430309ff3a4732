"""What x2i raises."""

from __future__ import annotations


class Error(Exception):
    """Something failed: a file, a model or a device. The message is one sentence that says what to do."""


class InputError(Error, ValueError):
    """An argument can't be used."""

    argument: str
    """The argument's name."""

    def __init__(self, message: str, argument: str) -> None:
        super().__init__(message)
        self.argument = argument

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str]]:
        return type(self), (str(self), self.argument)


class Cancelled(Error):
    """A callback returned False."""


class ModelWarning(UserWarning):
    """What a user should know of a model on a device."""
