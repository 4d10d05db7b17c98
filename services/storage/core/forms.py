"""Form bodies of old clients: names with brackets (`location[coordinates][]=13.4`), as Rails and qs write them."""

import re
from collections.abc import Iterable
from typing import Any, Final

from services.storage.core.extras import MAX_DEPTH
from services.storage.core.fields import FieldError, InvalidInput

_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART: Final = re.compile(r"\[([^\[\]]*)\]")


def parse_form(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the object that the pairs of a form describe. Each value is a string.

    `a[b]=1` is an object, `a[]=1` and `a[0]=1` are lists. Raises InvalidInput for a name that is a value and a group.
    """
    root: dict[str, Any] = {}
    for name, value in pairs:
        first, *rest = _path(name)
        node, key = root, first
        for following in rest:
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                raise InvalidInput(FieldError(name, "is sent as a value and as a group of values"))
            node, key = child, following or str(len(child))
        if isinstance(node.get(key), dict):
            raise InvalidInput(FieldError(name, "is sent as a value and as a group of values"))
        node[key] = value
    return {name: _with_lists(value) for name, value in root.items()}


def _path(name: str) -> list[str]:
    found = _NAME.fullmatch(name)
    parts = _PART.findall(found[2]) if found else []
    if found is None or len(parts) > MAX_DEPTH:
        return [name]
    return [found[1], *parts]


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    values = [_with_lists(each) for each in value.values()]
    if all(re.fullmatch(r"[0-9]{1,6}", key) for key in value):
        return [each for _, each in sorted(zip(map(int, value), values, strict=True), key=lambda pair: pair[0])]
    return dict(zip(value, values, strict=True))
