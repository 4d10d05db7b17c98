"""The text of a response, whatever charset and type its server claims."""

import codecs
import re
from typing import Final

from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.importer import DocumentKind
from services.offerserver.core.values import plain_text, shown

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""The marks at the begin of a text. That of UTF-32 begins with that of UTF-16."""
_LAST_CHARSET: Final = "windows-1252"
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE | re.ASCII)
_DECLARATION: Final = re.compile(r"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)[\"']", re.IGNORECASE | re.ASCII)
_XML_PROLOG: Final = re.compile(r"\s*<\?xml[^>]*\?>")
_PAGE: Final = re.compile(r"<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
_TITLE: Final = re.compile(r"<title[^>]*>(.{0,500}?)</title", re.IGNORECASE | re.DOTALL)
_HEAD_CHARS: Final = 10_000
_TEXT_CODECS: Final = frozenset(
    {"ascii", "big5", "euc-jp", "euc-kr", "gb2312", "gb18030", "gbk", "koi8-r", "shift-jis"}
)


def document_text(body: bytes, *, content_type: str, kind: DocumentKind) -> str:
    """Return the text of a body. It has no byte order mark, and no XML declaration, which names another charset.

    The charset is that of the byte order mark. Without one it is UTF-8 if more characters beyond ASCII are valid UTF-8
    than not, because servers declare the wrong one more often than another text is UTF-8 by chance, and one wrong byte
    must not change all the others. Else it is the declared one, and at last windows-1252, in which each byte is a
    character or is replaced.

    Raises UnreadableFeed for an HTML page where data should be, such as a login page with the status 200.
    """
    text = _decoded(body, content_type)
    if kind != "page" and _is_page(text[:_HEAD_CHARS]):
        title = _TITLE.search(text[:_HEAD_CHARS])
        name = shown(plain_text(title[1], "title")) if title else "without a title"
        raise UnreadableFeed(f"the response is an HTML page ({name}) where {kind} should be")
    if kind == "xml" and (prolog := _XML_PROLOG.match(text)) is not None:
        text = text[prolog.end() :]
    return text


def _is_page(head: str) -> bool:
    """Return whether a text begins as a page of HTML, maybe after comments."""
    begin = len(head) - len(head.lstrip())
    while head.startswith("<!--", begin):
        end = head.find("-->", begin)
        if end == -1:
            return False
        rest = end + len("-->")
        begin = rest + len(head[rest:]) - len(head[rest:].lstrip())
    return _PAGE.match(head, begin) is not None


def _decoded(body: bytes, content_type: str) -> str:
    for mark, charset in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(charset, "replace")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        if error.end == len(body) and error.reason == "unexpected end of data":  # cut within a character
            return body[: error.start].decode()
    text = body.decode("utf-8", "replace")
    wrong, others = text.count("\ufffd"), len(text) - len(text.encode("ascii", "ignore"))
    if others - wrong > wrong:
        return text
    head = body[:1_000].decode("ascii", "replace")
    found = _CHARSET.search(content_type) or _DECLARATION.search(head) or _CHARSET.search(head)
    return body.decode(_known_charset(found[1]) if found else _LAST_CHARSET, "replace")


def _known_charset(name: str) -> str:
    """Return a charset that is one of text. Python also has codecs such as `zip` and `idna`."""
    try:
        found = codecs.lookup(name).name
    except LookupError:
        return _LAST_CHARSET
    is_text = found in _TEXT_CODECS or re.fullmatch(r"iso8859-\d+|cp\d+|utf-8|utf-(16|32)(-[lb]e)?", found) is not None
    return found if is_text else _LAST_CHARSET
