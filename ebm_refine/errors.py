"""The two errors that wrong input can cause, each with one clear sentence."""


class InputError(ValueError):
    """A value is outside its allowed range. The message names the value and the allowed range.

    The command line prints it and exits with status 2; the page and the API show it as it stands.
    """


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, or not what its `config.json` says. The message names the file."""
