"""Read numbers that a person has typed."""

from deploy.errors import OperatorError


def positive_number(name: str, text: str) -> float:
    """Return the number above 0 that the flag or variable `name` has. Raises OperatorError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise OperatorError(f'{name}: invalid number "{text}". Use a number above 0.')
    return value
