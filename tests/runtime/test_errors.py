"""One-line errors."""

import logging

import pytest

from smcd.runtime.command import command
from smcd.runtime.errors import InputError, first_line, shown


@pytest.mark.parametrize(
    ("error", "line"), [(ValueError("a\nb"), "a"), (ValueError("\n a"), "a"), (AssertionError(), "AssertionError")]
)
def test_an_error_always_has_a_first_line(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1bc", "ab"),
        ("a\x1b", "a"),
        ("a\x00\x07\x9b\ud800\u202e", "a?????"),
        ("a\tb\xa0c", "a b c"),
        ("a\r\nb\x85c", "a\nb\nc"),
        ("\u00e9\u4e2d\U0001f600", "\u00e9\u4e2d\U0001f600"),
    ],
)
def test_what_would_steer_a_terminal_is_not_shown(text, expected):
    assert shown(text) == expected


def test_commands_show_messages_and_log_lines_without_escapes_and_in_bounds(capfd, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])

    def work():
        with command():
            logging.getLogger("smcd").warning("\x1b[2J" + "y" * 5000)
            raise InputError("a.json: \x1b[31m" + "x\n" * 5000 + "; mend it")

    with pytest.raises(SystemExit, match="2"):
        work()
    warning, error = capfd.readouterr().err.splitlines()
    assert warning.startswith("WARNING: yyy")
    assert error.startswith("error: a.json: x x")
    assert error.endswith("; mend it")
    assert len(warning) < 500
    assert len(error) < 500
