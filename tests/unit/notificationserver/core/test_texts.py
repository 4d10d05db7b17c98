import string

import pytest

from services.notificationserver.core.texts import LANGUAGES, TEXTS, Language, language_of, text


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_every_key_is_in_every_language_with_the_same_values() -> None:
    keys = {key for texts in TEXTS.values() for key in texts}
    for language in LANGUAGES:
        for key in keys:
            assert TEXTS[language][key].strip()
            assert fields(TEXTS[language][key]) == fields(TEXTS["en"][key])


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("de_CH.UTF-8", "de"),
        ("EN-us", "en"),
        ("den", "de"),
        ("fr-FR", "de"),
        ("", "de"),
    ],
)
def test_locale_falls_to_its_language_then_to_the_default(locale: str, language: Language) -> None:
    assert language_of(locale, default="de") == language


def test_values_are_not_templates() -> None:
    assert text("en", "match", title="{title} {0}") == '"{title} {0}"'
