"""The texts of messages in each language, and the language of a device."""

from typing import Final, Literal, get_args

Language = Literal["de", "en"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)

TEXTS: Final[dict[Language, dict[str, str]]] = {
    "de": {
        "offer_found": "Angebot gefunden",
        "search_found": "Gesuch gefunden",
        "match": "„{title}“",
        "untitled": "Ohne Titel",
        "chat": "Nachricht: {channel}",
        "text": "Nachricht",
        "merged": "{count} Nachrichten während deiner Ruhezeit",
        "more": "und {count} weitere",
    },
    "en": {
        "offer_found": "Offer found",
        "search_found": "Search found",
        "match": '"{title}"',
        "untitled": "No title",
        "chat": "Message: {channel}",
        "text": "Message",
        "merged": "{count} messages during your quiet hours",
        "more": "and {count} more",
    },
}


def language_of(locale: str, *, default: Language) -> Language:
    """Return the language of a locale such as `de-AT` or `de_AT.UTF-8`: its first part, else the default."""
    first = locale.replace("_", "-").partition("-")[0].partition(".")[0].strip().lower()
    for language in LANGUAGES:
        if first == language:
            return language
    return default


def text(language: Language, key: str, **values: object) -> str:
    """Return a text with its values."""
    return TEXTS[language][key].format_map(values) if values else TEXTS[language][key]
