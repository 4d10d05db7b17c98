"""OperatorError: an error that is reported in a sentence, without a traceback."""


class OperatorError(Exception):
    """An error that the person at the terminal can correct. The message says what is wrong and what to do."""
