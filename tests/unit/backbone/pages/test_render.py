import time
from pathlib import Path
from typing import Any

import jinja2
import pytest

from services.backbone.pages import Assets, Renderer
from services.backbone.pages.render import Site

LINKS = (("Live", "/kafidx"), ("Dead letters", "/dead"))


def scope(**headers: str) -> dict[str, Any]:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "GET", "path": "/x", "headers": given}


@pytest.fixture
def renderer(tmp_path: Path) -> Renderer:
    (tmp_path / "page.html").write_text(
        '{% extends "base.html" %}{% set here = "Live" %}{% block main %}{{ text }}{% endblock %}'
    )
    return Renderer(tmp_path, Site("toy", LINKS, safe="Nothing was lost."), Assets(tmp_path))


def html(renderer: Renderer, request: dict[str, Any], **context: Any) -> str:
    return bytes(renderer.page(request, "page.html", **context).body).decode()


def test_text_is_escaped(renderer: Renderer) -> None:
    assert "&lt;b&gt;" in html(renderer, scope(), text="<b>")


def test_unknown_name_in_a_template_raises(renderer: Renderer) -> None:
    with pytest.raises(jinja2.UndefinedError):
        html(renderer, scope())


def test_header_has_the_links_of_the_service_and_marks_the_present_one(renderer: Renderer) -> None:
    text = html(renderer, scope(), text="")
    assert '<a href="/kafidx" aria-current="page">Live</a>' in text
    assert '<a href="/dead">Dead letters</a>' in text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_has_the_theme_of_the_cookie(renderer: Renderer, theme: str) -> None:
    text = html(renderer, scope(cookie=f"a=b; push-theme={theme}"), text="")
    assert f'data-theme="{theme}"' in text


@pytest.mark.parametrize("other", ['x={"a":1}', "a b=c", "a[b]=c", "flag", 'x="', "path=/x"])
def test_page_has_the_theme_when_the_cookie_of_another_service_is_invalid(renderer: Renderer, other: str) -> None:
    assert 'data-theme="dark"' in html(renderer, scope(cookie=f"{other}; push-theme=dark"), text="")


def test_long_cookie_is_read_fast(renderer: Renderer) -> None:
    cookie = 'push-theme="' + "\\" * 60_000 + '"'
    begin_s = time.perf_counter()
    html(renderer, scope(cookie=cookie), text="")
    assert time.perf_counter() - begin_s < 1


@pytest.mark.parametrize("cookie", ["push-theme=blue", 'push-theme="><script>', "push-theme", "=;;=", "\x00"])
def test_page_has_the_theme_of_the_system_when_the_cookie_is_invalid(renderer: Renderer, cookie: str) -> None:
    assert "data-theme=" not in html(renderer, scope(cookie=cookie), text="")


def test_page_is_compressed_when_the_client_accepts_it(renderer: Renderer) -> None:
    response = renderer.page(scope(accept_encoding="gzip"), "page.html", text="")
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["vary"] == "Accept-Encoding, Cookie"


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (400, "Go back and correct the input."),
        (403, "Nothing was changed."),
        (404, "Check the address"),
        (429, "Wait 7 seconds"),
        (500, "give the id below to the operators"),
        (503, "Nothing was lost."),
    ],
)
def test_error_page_names_what_is_safe_and_what_to_do(renderer: Renderer, status: int, sentence: str) -> None:
    response = renderer.error(scope(), status, "It is <broken>.", {"Retry-After": "7"})
    text = bytes(response.body).decode()
    assert response.status_code == status
    assert sentence in text
    assert "It is &lt;broken&gt;." in text
    assert response.headers["retry-after"] == "7"


def test_error_page_of_a_failure_has_the_id_that_the_log_has(
    renderer: Renderer, capsys: pytest.CaptureFixture[str]
) -> None:
    text = bytes(renderer.error(scope(), 500, "It broke.").body).decode()
    error_id = text.split("id <code>")[1].split("<")[0]
    assert error_id in capsys.readouterr().out


def test_refusal_is_a_page_for_a_browser_and_a_line_for_others(renderer: Renderer) -> None:
    page = renderer.refusal(scope(accept="text/html,*/*"), 429, "No.", {"Retry-After": "7"})
    line = renderer.refusal(scope(accept="*/*"), 403, "No.", {})
    assert page.headers["content-type"].startswith("text/html")
    assert "Wait 7 seconds" in bytes(page.body).decode()
    assert bytes(line.body) == b"No.\n"
