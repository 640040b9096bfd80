"""One-line errors."""

import pytest

from smcd.runtime.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"), [(ValueError("a\nb"), "a"), (ValueError("\n a"), "a"), (AssertionError(), "AssertionError")]
)
def test_an_error_always_has_a_first_line(error, line):
    assert first_line(error) == line
