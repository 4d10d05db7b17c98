"""The variables of every service, as its Settings class declares them."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from deploy.catalog import Catalog
from services.backbone import settings as shared
from services.backbone.settings import PLACEHOLDER, EnvSettings

SHARED = "all services"
"""The section of the variables that the backbone declares."""


class Variable(NamedTuple):
    """One environment variable."""

    name: str
    explanation: str
    default: str
    """The default in .env.template. Empty when the variable has no default."""


def settings_of(service: str) -> type[EnvSettings]:
    """Return the Settings class of a service."""
    found: type[EnvSettings] = importlib.import_module(f"services.{service}.settings").Settings
    return found


def variables_by_section(listed: Catalog) -> Mapping[str, list[Variable]]:
    """Return the variables in the order of .env.template: those of the backbone first, then each service's own."""
    sections: dict[str, list[Variable]] = {SHARED: []}
    seen: set[str] = set()
    for service in listed.python_services:
        for variable, declared_in_backbone in _variables(settings_of(service)):
            if variable.name not in seen:
                seen.add(variable.name)
                section = SHARED if declared_in_backbone else service
                sections.setdefault(section, []).append(variable)
    return sections


def variables_of(settings: type[EnvSettings]) -> list[Variable]:
    """Return the variables of one class in the order of its fields."""
    return [variable for variable, _ in _variables(settings)]


def _variables(settings: type[EnvSettings]) -> Iterator[tuple[Variable, bool]]:
    for name, field in settings.model_fields.items():
        if not field.description:
            raise ValueError(f"{settings.__module__}: the field {name} has no docstring to explain its variable")
        owner = next(cls for cls in reversed(settings.__mro__) if name in getattr(cls, "__annotations__", {}))
        variable = Variable(field.alias or name, " ".join(field.description.split()), _written(field))
        yield variable, owner.__module__ == shared.__name__


def _written(field: FieldInfo) -> str:
    value: Any = field.default
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    if isinstance(value, float):
        return f"{value:.10g}"
    if value is None:
        return PLACEHOLDER if SecretStr in _types(field) else ""
    return str(value)


def _types(field: FieldInfo) -> tuple[Any, ...]:
    types = getattr(field.annotation, "__args__", (field.annotation,))
    return tuple(getattr(each, "__origin__", each) for each in types)  # of a type with validators: the type
