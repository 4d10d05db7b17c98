"""OperatorError: what an operator is told in a sentence, without a traceback."""


class OperatorError(Exception):
    """Something that the person at the terminal can act on; the message says what and how."""
