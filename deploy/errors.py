"""OperatorError: an error that is reported in a sentence, without a traceback."""


class OperatorError(Exception):
    """An error that the person at the terminal can correct. The message contains the error and what to do."""
