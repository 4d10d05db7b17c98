"""`.env.template`: every variable with its explanation and a default that is safe on one machine."""

import textwrap
from collections.abc import Iterable

from deploy.catalog import Catalog
from deploy.develop.derived.settings_classes import Variable, variables_by_section, variables_of
from deploy.settings import ContainerSettings, OperatorSettings

_HEAD = """\
# Every variable of Push with its meaning and a default that is safe on one machine.
# `python3 tasks.py derived.write` writes this file from the Settings classes. Edit those, not this file.
# `python3 tasks.py dotenv.generate` makes .env from this file. An empty value counts as not set.
# <generate> marks a secret. dotenv.generate replaces it by a random value. A service refuses to start with the mark.
"""
_WIDTH = 119


def text(listed: Catalog) -> str:
    """Return the whole file."""
    sections = dict(variables_by_section(listed))
    sections["containers"] = variables_of(ContainerSettings)
    sections["operators' tools"] = variables_of(OperatorSettings)
    return "\n".join([_HEAD, *(_section(title, variables) for title, variables in sections.items())])


def _section(title: str, variables: Iterable[Variable]) -> str:
    return f"# ---- {title} ----\n\n" + "".join(_entry(variable) for variable in variables)


def _entry(variable: Variable) -> str:
    comment = textwrap.fill(
        variable.explanation,
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{comment}\n{variable.name}={variable.default}\n"
