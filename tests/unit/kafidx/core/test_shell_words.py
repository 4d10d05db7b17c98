import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kafidx.core.shell_words import split_words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("curl 'a b' \"c d\" e\\ f", ["curl", "a b", "c d", "e f"]),
        ("curl --data-raw $'a=it\\u0021'", ["curl", "--data-raw", "a=it!"]),
        ("curl $'it\\'s\\n\\x41\\101\\\\'", ["curl", "it's\nAA\\"]),
        ("curl x$'y'z", ["curl", "xyz"]),
        ("curl 'costs 5 $' 'more'", ["curl", "costs 5 $", "more"]),
        ("curl \"$'a'\"", ["curl", "$'a'"]),
        ("curl $'\\q'", ["curl", "\\q"]),
        ("curl a \\\n b", ["curl", "a", "b"]),
        ("curl $'\\U7fffffff'", ["curl", "\ufffd"]),
    ],
)
def test_words_are_those_of_bash(line: str, words: list[str]) -> None:
    assert split_words(line) == words


@pytest.mark.parametrize("line", ["curl 'a", 'curl "a', "curl $'a"])
def test_open_quotation_mark_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="quotation"):
        split_words(line)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(alphabet="ab'\"\\nx41u0é ", max_size=12))
def test_ansi_string_is_read_as_bash_reads_it(content: str) -> None:
    line = f"$'{content}'"
    printed = subprocess.run(
        ["bash", "-c", f'for word in {line}; do printf "%s\\0" "$word"; done'],
        capture_output=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}, check=False,
    )  # fmt: skip
    if printed.returncode or printed.stderr or b"\xef\xbf\xbd" in printed.stdout:
        return  # bash cannot read it either
    try:
        expected = [word.decode() for word in printed.stdout.split(b"\0")[:-1]]
    except UnicodeDecodeError:
        return  # \x and octal escapes are bytes for bash, and here they are characters
    words = split_words(line)
    if "\0" not in "".join(words):  # bash ends a string at NUL
        assert words == expected
