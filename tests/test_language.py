"""Names use the glossary: each concept has one name, which is the established technical term if there is one.

These words of the glossary are not checked, because they also have a correct use: `number`, `ends` (the verb), `place`
(the verb), `Record` (one of three types keeps this name), and `Load`, `Tally` and other names that only one type has.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("services", "deploy", "tests")

REPLACED = {
    "answer": "response, or respond",
    "begin_offsets": "beginning_offsets",
    "books": "ledger",
    "bury": "write_dead_letters",
    "copies": "duplicates, or replicas of a topic",
    "drained": "wait_until_drained",
    "end_with": "exit_with",
    "faults": "errors",
    "figures": "metrics of a process, or results of a bench",
    "forget": "erase",
    "holes": "gaps",
    "letters": "dead_letters",
    "looks": "inspect",
    "placed": "positioned",
    "pusher": "producer_id",
    "reposition": "reset_position",
    "settle": "on_stored, or acknowledge",
    "tell": "report, log, or return",
    "says": "report, log, or return",
    "told": "report, log, or return",
    "unwilling": "redis_error",
    "willing": "mark_redis_up",
    "watcher": "subscriber",
    "whoever": "the actor's name",
}
"""The forbidden words of identifiers, each with its replacement."""
_REPLACED_TYPES = {
    "Batch": "RequestBatch (HTTP), RecordBatch (a poll), or ClaimedBatch (a claim)",
    "Place": "Location (geography), or WorkerArgs",
}
"""The forbidden names of types, each with its replacements."""
_FORMS = {
    "answer": ("answers", "answered", "answering"),
    "bury": ("buries", "buried"),
    "forget": ("forgets", "forgotten", "forgetting"),
    "holes": ("hole",),
    "pusher": ("pushers",),
    "says": ("said", "saying"),
    "settle": ("settles", "settled", "settling"),
    "tell": ("tells", "telling"),
    "watcher": ("watchers",),
}
_OF = {form: word for word in REPLACED for form in (word, *_FORMS.get(word, ()))}
_RIGHT_NAMES = ("dead_letters", "wait_until_drained", "until_drained", "is_drained")
"""Longer names in which a forbidden word is correct."""
_EXEMPT = {
    # "Fault injection" is the established technical term.
    "faults": ("deploy/chaos/", "tests/unit/deploy/chaos/", "tests/chaos/"),
}
"""The words that some folders use, with the reason."""


class Identifier(NamedTuple):
    """A name that a module defines, with its line."""

    line: int
    name: str
    is_type: bool = False


def identifiers(path: Path) -> Iterator[Identifier]:
    """Yield the names of the module, its classes, functions, parameters, variables, attributes and imports."""
    yield Identifier(1, path.stem)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ClassDef(name=name):
                yield Identifier(node.lineno, name, is_type=True)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield Identifier(node.lineno, name)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield Identifier(node.lineno, name)
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield Identifier(node.lineno, name)
            case ast.Constant(value=str(value)) if re.fullmatch(r"push_[a-z_]+", value):
                yield Identifier(node.lineno, value)  # the name of a metric


def replacements(identifier: Identifier, path: str) -> Iterator[str]:
    """Yield the glossary's replacements for the identifier, or for a word in it."""
    if identifier.is_type and identifier.name.strip("_") in _REPLACED_TYPES:
        yield _REPLACED_TYPES[identifier.name.strip("_")]
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier.name).lower()
    for longer in _RIGHT_NAMES:
        snake = snake.replace(longer, "")
    for form, word in _OF.items():
        if re.search(rf"(?:^|_){form}(?:_|$)", snake) and not path.startswith(_EXEMPT.get(word, ("-",))):
            yield REPLACED[word]


@pytest.mark.parametrize("folder", FOLDERS)
def test_identifiers_use_the_glossary(folder: str) -> None:
    errors = [
        f"{path}:{identifier.line}: {identifier.name}: use {replacement}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        if (path := str(file.relative_to(ROOT)))
        for identifier in identifiers(file)
        for replacement in replacements(identifier, path)
    ]
    assert not errors, "\n".join(errors)


def test_operators_names_use_the_glossary() -> None:
    variables = re.findall(r"^#? ?([A-Z0-9_]+)=", (ROOT / ".env.template").read_text(), re.MULTILINE)
    rules = sorted((ROOT / "deploy" / "monitoring" / "rules").glob("*.yml"))
    alerts = [name for rule in rules for name in re.findall(r"- (?:alert|record): (\S+)", rule.read_text())]
    assert variables
    assert alerts
    errors = [
        f"{name}: use {replacement}"
        for name in (*variables, *(alert.replace(":", "_") for alert in alerts))
        for replacement in replacements(Identifier(0, name), "")
    ]
    assert not errors, "\n".join(errors)


@pytest.mark.parametrize(
    "name",
    [
        "forget_device",
        "ForgottenDevices",
        "_answers",
        "pusher",
        "LETTERS",
        "tell_operator",
        "BooksUnbalanced",
        "faults",
    ],
)
def test_glossary_check_finds_a_word_in_every_form(name: str) -> None:
    assert list(replacements(Identifier(1, name), "services/tracker/app.py"))


@pytest.mark.parametrize(
    "name", ["storytelling", "dead_letters", "fortell", "answerable", "wait_until_drained", "Place"]
)
def test_glossary_check_accepts_longer_words(name: str) -> None:
    assert not list(replacements(Identifier(1, name), "services/tracker/app.py"))


def test_glossary_check_finds_the_names_of_types() -> None:
    assert list(replacements(Identifier(1, "_Place", is_type=True), "services/tracker/app.py"))


def test_glossary_check_accepts_the_term_of_fault_injection_in_chaos() -> None:
    assert not list(replacements(Identifier(1, "FAULTS"), "deploy/chaos/faults.py"))
