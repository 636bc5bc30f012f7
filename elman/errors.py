"""The errors that Elman raises on purpose.

    ElmanError
    |-- DataError         a file, a record or a column is not as expected
    |-- ArgumentError     an argument or a flag has a value that cannot work (a ValueError too)
    |   |-- TensorError     a tensor has a wrong dtype, shape or device (a RuntimeError too)
    |   `-- UntrainedError  a model is used before it is trained (an AttributeError too)
    |-- FolderError       a model or run folder is missing, damaged, foreign or not empty
    |-- DivergenceError   a loss or a gradient in training is not a finite number
    `-- LostProcessError  another process of a run has ended, so that the run cannot continue

    KeyboardInterrupt
    `-- Stopped           a signal stopped the training, which saved its state

Each message is one line: the place (file and line, or argument), the given value, the expected
value, and a remedy. The command line prints it and exits with code 2.
"""


class ElmanError(Exception):
    """Base of all errors that Elman raises on purpose.

    Attributes:
        column: the name of a column that a table does not have; empty for other errors.
    """

    column: str = ""


class DataError(ElmanError):
    """A file, a record or a column is not as expected."""


class ArgumentError(ElmanError, ValueError):
    """An argument or a flag has a value that cannot work."""


class TensorError(ArgumentError, RuntimeError):
    """A tensor has a dtype, shape, layout or device that the call does not accept."""


class UntrainedError(ArgumentError, AttributeError):
    """A model is used before it is trained."""


class FolderError(ElmanError):
    """A model or run folder is missing, damaged, foreign or not empty."""


class DivergenceError(ElmanError):
    """A loss or a gradient in training is not a finite number."""


class LostProcessError(ElmanError):
    """Another process of a run has ended, so that the run cannot continue."""


class Stopped(KeyboardInterrupt):
    """The training was stopped by Ctrl-C or SIGTERM, and saved its state.

    Attributes:
        signal: the number of the signal.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
