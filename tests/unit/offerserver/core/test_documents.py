import codecs
import contextlib
import time

import pytest

from services.offerserver.core.documents import document_text
from services.offerserver.core.drafts import UnreadableFeed

UMLAUT = "Tür"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (UMLAUT.encode(), ""),
        (UMLAUT.encode(), "application/json; charset=iso-8859-1"),
        (codecs.BOM_UTF8 + UMLAUT.encode(), "text/plain"),
        (codecs.BOM_UTF16_LE + UMLAUT.encode("utf-16-le"), ""),
        (codecs.BOM_UTF16_BE + UMLAUT.encode("utf-16-be"), ""),
        (codecs.BOM_UTF32_LE + UMLAUT.encode("utf-32-le"), ""),
        (UMLAUT.encode("latin-1"), "text/csv; charset=ISO-8859-1"),
        (UMLAUT.encode("cp850"), 'text/csv; charset="cp850"'),
        (UMLAUT.encode("latin-1"), "text/csv; charset=utf-8"),
        (UMLAUT.encode("latin-1"), "text/csv; charset=zip"),
        (UMLAUT.encode("latin-1"), "text/csv; charset=nonsense"),
        (UMLAUT.encode("latin-1"), ""),
    ],
)
def test_text_is_read_whatever_the_server_declares(body: bytes, content_type: str) -> None:
    assert document_text(body, content_type=content_type, kind="csv").replace("�", "ü") == UMLAUT


@pytest.mark.parametrize("content_type", ["", "text/csv; charset=utf-8", "text/csv; charset=iso-8859-1"])
def test_one_wrong_byte_does_not_change_the_other_characters(content_type: str) -> None:
    found = document_text(
        "Bücher, Möbel, ".encode() + "Straße".encode("latin-1"), content_type=content_type, kind="csv"
    )
    assert found == "Bücher, Möbel, Stra\ufffde"


def test_charset_of_an_xml_declaration_is_used_and_removed() -> None:
    body = '<?xml version="1.0" encoding="iso-8859-15"?><a>10 €</a>'.encode("iso-8859-15")
    assert document_text(body, content_type="", kind="xml") == "<a>10 €</a>"


def test_text_that_is_cut_within_a_character_loses_only_that() -> None:
    assert document_text("aü".encode()[:-1], content_type="text/csv; charset=cp850", kind="csv") == "a"


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><title>Log in</title>",
        b"\n <HTML lang=en><head><title>Log\n in</title>",
        b"<!-- a proxy --><html>\n<title>Log in</title></html>",
        b" <!----> <!-- a --><!-- b -->\n<html><title>Log in</title></html>",
    ],
)
def test_page_in_place_of_data_is_refused_and_named(body: bytes) -> None:
    with pytest.raises(UnreadableFeed, match=r"is an HTML page \(Log in\) where json should be"):
        document_text(body, content_type="application/json", kind="json")
    assert document_text(body, content_type="text/html", kind="page") == body.decode()


def test_page_without_a_title_is_refused() -> None:
    with pytest.raises(UnreadableFeed, match="without a title"):
        document_text(b"<html><body>", content_type="", kind="calendar")


@pytest.mark.parametrize(
    "body",
    [
        b"<!---->" * 100_000,
        b"<!-- " * 100_000,
        b"<!-- --> " * 100_000 + b"<htm",
        b"<?xml " * 500_000,
        b" " * 5_000_000,
        b"<html><title " * 100_000,
    ],
)
def test_hostile_body_is_decoded_at_once(body: bytes) -> None:
    began = time.monotonic()
    with contextlib.suppress(UnreadableFeed):
        assert document_text(body, content_type="", kind="xml") == body.decode()
    assert time.monotonic() - began < 2


def test_only_the_declaration_at_the_begin_is_removed() -> None:
    text = "<a/><?xml version='1.0'?>"
    assert document_text(text.encode(), content_type="", kind="xml") == text
