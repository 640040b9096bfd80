"""JSON, and files and folders that are whole or not there."""

import os
import signal
import subprocess
import sys

import pytest

from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file, new_folder, parse_json


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
        ('{"a":\n"\\ud800"}', "where: holds half a character"),
        (r'{"a": "\\\udc00"}', "where: holds half a character"),
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


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_run_left_goes_with_the_next_one(tmp_path):
    code = "from pathlib import Path; from smcd.runtime.files import new_file, new_folder; import os\n"
    code += "with new_folder(Path('a.b')) as a, new_file(Path('c.json')) as c:\n"
    code += "    (a / 'part').touch(); c.write_text('part'); os.kill(os.getpid(), 9)"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment).returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    mine = tmp_path / ".a.mine.partial.b"
    mine.touch()
    with new_folder(tmp_path / "a.b"), new_file(tmp_path / "c.json"):
        pass
    assert names(tmp_path) == [mine.name, "a.b", "c.json"]


def test_what_another_live_run_writes_stays(tmp_path):
    with new_folder(tmp_path / "a", replace=True) as first, new_file(tmp_path / "b") as one:
        (first / "first").touch()
        one.write_text("one")
        with new_folder(tmp_path / "a"), new_file(tmp_path / "b"):
            pass
        assert (tmp_path / "b").read_text() == ""
    assert names(tmp_path / "a") == ["first"]
    assert (tmp_path / "b").read_text() == "one"
    assert names(tmp_path) == ["a", "b"]


def test_a_folder_is_replaced_by_a_whole_one_or_not_at_all(tmp_path):
    with new_folder(tmp_path / "a") as folder:
        (folder / "old").touch()
    with pytest.raises(InputError, match="exists already"), new_folder(tmp_path / "a"):
        pass
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "a", replace=True):
        raise KeyboardInterrupt
    assert names(tmp_path / "a") == ["old"]
    with new_folder(tmp_path / "a", replace=True) as folder:
        (folder / "new").touch()
    assert names(tmp_path / "a") == ["new"]
    assert names(tmp_path) == ["a"]
