"""Names use the glossary: one word for one thing, and the field's word where there is one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

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
    "told": "report, log, or return",
    "unwilling": "redis_error",
    "watcher": "subscriber",
    "whoever": "the actor's name",
}
"""The words that no identifier uses, each with the word that it uses instead."""
_FORMS = {
    "answer": ("answers", "answered", "answering"),
    "forget": ("forgets", "forgotten", "forgetting"),
    "pusher": ("pushers",),
    "settle": ("settles", "settled", "settling"),
    "tell": ("tells", "telling"),
    "watcher": ("watchers",),
}
_OF = {form: word for word in REPLACED for form in (word, *_FORMS.get(word, ()))}
_WITH_MEANING = {"dead_letters", "wait_until_drained", "until_drained"}
"""Longer names in which a word of the left column is right."""


def identifiers(path: Path) -> Iterator[tuple[int, str]]:
    """Yield what a module names: modules, classes, functions, parameters, variables and attributes that it assigns."""
    yield 1, path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def words(identifier: str) -> Iterator[str]:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower()
    for longer in _WITH_MEANING:
        snake = snake.replace(longer, "")
    yield from (word for word in _OF if re.search(rf"(?:^|_){word}(?:_|$)", snake))


@pytest.mark.parametrize("folder", FOLDERS)
def test_identifiers_use_the_glossary(folder: str) -> None:
    errors = [
        f"{path.relative_to(ROOT)}:{line}: {identifier}: use {REPLACED[_OF[word]]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, identifier in identifiers(path)
        for word in words(identifier)
    ]
    assert not errors, "\n".join(errors)


def test_glossary_check_finds_a_word_in_every_form() -> None:
    for identifier in ("forget_device", "ForgottenDevices", "_answers", "pusher", "LETTERS", "tell_operator"):
        assert list(words(identifier)), identifier
    for identifier in ("storytelling", "dead_letters", "fortell", "answerable", "wait_until_drained"):
        assert not list(words(identifier)), identifier
