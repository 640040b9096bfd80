"""JSON, and files and folders that are whole or not there."""

import pytest

from smcd.runtime.errors import InputError
from smcd.runtime.files import parse_json


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "where:1: is not JSON .*was it cut off"),
        ('{"a": 1', "where:1: .*was it cut off"),
        ('{"a": "b', "where:1: .*was it cut off"),
        ('{"a": 1,\n}', "where:2: is not JSON .delete the comma before the }"),
        ('{"a": [1, 2, ]}', "where:1: is not JSON .delete the comma before the ]"),
        ('{"a": 1, "b": 2, "a": 1}', 'where: key "a" is given twice'),
        ('{"a": ' + "1" * 5000 + "}", "where: holds a number of 5000 digits"),
        ('{"a": ' * 2000, "where: is nested too deeply"),
        (r'{"a": "\u0000"}', "where:1: holds the character NUL"),
        ('{"a":\n"\\ud800"}', "where:2: holds half a character"),
        (r'{"a": "\\\udc00"}', "where:1: holds half a character"),
        ("[]", "where: should be a JSON object"),
    ],
)
def test_json_that_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as error:
        parse_json(text, "where")
    assert "\n" not in str(error.value)


def test_texts_that_only_look_like_broken_ones_are_read():
    assert parse_json(r'["\\u0000", "\\ud800", "\ud83d\ude00", "\\"]', "", list) == [
        r"\u0000",
        r"\ud800",
        "\U0001f600",
        "\\",
    ]


def test_many_keys_are_checked_at_once():
    text = ",".join(f'"{n}":0' for n in range(100_000))
    with pytest.raises(InputError, match='key "99999" is given twice'):
        parse_json(f'{{{text},"99999":0}}', "where")
