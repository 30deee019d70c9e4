"""The exceptions a user can meet: one family, each message one line naming argument, value and what is allowed."""


class GradclipError(Exception):
    """Base of every error that a user can mend; scripts print it as one line and exit with code 2."""


class ConfigError(GradclipError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(GradclipError):
    """The data cannot be read or cannot be trained on."""


class ModelError(GradclipError):
    """The network cannot be built or does not fit the data."""


class ClippingError(GradclipError):
    """A clipping method cannot be applied to these parameters."""


class TrainerError(GradclipError):
    """The Lightning Trainer, its callbacks or its device do not fit together."""


class StackingError(GradclipError):
    """These trainings cannot be stacked; each can be run by itself."""


class TrackingError(GradclipError):
    """The MLflow store cannot be reached, written or read."""


class DiskError(GradclipError):
    """A file cannot be written: the disk is full, or takes no writes."""


class Interrupted(BaseException):
    """A run was stopped by a signal; no mistake, and no exception that other code would catch.

    Attributes:
        signal: its number.
        run_id: the run that was stopped, where one had begun.
        step: the optimizer steps that it had taken.
        unsent: how many writes the store has not taken yet.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
        self.run_id: str | None = None
        self.step = self.unsent = 0
