"""The YAML of a source: reads it, and says what is wrong with it in words for the operator who wrote it."""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import yaml
from pydantic import ValidationError

BOX_FORM: Final = "{south: 52.3, west: 13.0, north: 52.7, east: 13.8}"
_HINTS: Final = (
    (re.compile(r"[\[,]\s*#"), 'quote words that begin with #, such as "#all"'),
    (re.compile(r"^\s*schedule:\s*\*", re.MULTILINE), 'quote a crontab that begins with *, such as "*/10 * * * *"'),
)
_WORDS: Final = {"missing": "is required", "string_pattern_mismatch": "must begin with http:// or https://"}
_NO_MAP: Final = frozenset({"model_type", "model_attributes_type"})


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping with a key that occurs twice: YAML would use the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - of PyYAML
        """Return the mapping. Raises ConstructorError."""
        keys = [key.value for key, _ in node.value]
        for at, (key, _) in enumerate(node.value):
            if key.value in keys[:at]:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} occurs twice", key.start_mark)
        return super().construct_mapping(node, deep)


def parsed_yaml(text: str) -> object:
    """Return the value of a YAML text. Raises ValueError with the line and a hint."""
    try:
        return yaml.load(text, _UniqueKeys)  # noqa: S506 - it is a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = "" if mark is None else f"line {mark.line + 1}: "
        hint = next((f" ({hint})" for pattern, hint in _HINTS if pattern.search(text)), "")
        raise ValueError(f"this is not YAML: {line}{problem}{hint}") from None


def problems(error: ValidationError, keys: Mapping[str, Collection[str]]) -> list[str]:
    """Return a line for each error, with the key in front. `keys` has the known keys of each mapping, "" the outer."""
    lines = []
    for each in error.errors():
        place = ".".join(map(str, each["loc"]))
        message = _message(dict(each), keys)
        lines.append(f"{place}: {message}" if place else message)
    return lines


def unknown_key(key: str, known: Collection[str]) -> str:
    """Return the message for a key that is none of the known ones."""
    similar = difflib.get_close_matches(key, known, n=1)
    guess = f"; did you mean {similar[0]}?" if similar else ""
    return f"unknown key{guess} Known are {', '.join(known)}" if guess else f"unknown key; known are {', '.join(known)}"


def _message(each: dict[str, Any], keys: Mapping[str, Collection[str]]) -> str:
    kind, place = each["type"], each["loc"]
    parent = ".".join(map(str, place[:-1]))
    is_box = place[:1] == ("box",)
    if is_box and kind in ("float_parsing", "extra_forbidden", "invalid_key") and re.search(r"\d", str(each["input"])):
        return "use points: 52.3"
    if is_box and str(place[-1]).isdigit():
        return "use points: 52.3"
    if kind in _NO_MAP:
        return f"must have the form {BOX_FORM}" if is_box else "must have names and values, such as `text: Name`"
    if kind == "extra_forbidden":
        return unknown_key(str(place[-1]), keys.get(parent, ()))
    if kind == "literal_error":
        return f"must be one of {each['ctx']['expected']}"
    return _WORDS.get(kind) or each["msg"].removeprefix("Value error, ")
