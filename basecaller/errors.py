"""The errors a user can cause and mend: each message names the file, key or value, and says what to do."""


class BasecallerError(Exception):
    """Base of all errors that are shown as one message, without a traceback."""


class SettingError(BasecallerError):
    """A setting has a value that it cannot have."""


class DataError(BasecallerError):
    """A file or a data set cannot be used as it is."""


class InfeasibleError(DataError):
    """A target needs more frames than the network gives: CTC has no path for it."""


class StorageError(BasecallerError):
    """The Optuna storage cannot be opened or used."""


class StageError(BasecallerError):
    """A stage needs the winner of another stage that is missing or unfinished."""


class DivergedError(BasecallerError):
    """The training loss or the validation loss is not a finite number any more.

    Args:
        update: the optimizer update at which it happened, counted from 1.
        loss: the value seen.
        kind: which loss.
    """

    def __init__(self, update: int, loss: float, kind: str = "loss") -> None:
        super().__init__(f"the {kind} is {loss} at update {update}: lower optimizer.lr or train.clip")
        self.update = update
