"""Files of one's own: what is read, and that what could be misread is an error with a row in it."""

import json
import math

import pandas as pd
import pytest

from srlib.base import tables
from srlib.data import evalsets
from srlib.errors import UserError

TWO = [{"prompt": "2+2?", "answer": "4"}, {"prompt": "3+4?", "answer": "7"}]
LINES = "".join(json.dumps(row) + "\n" for row in TWO)
CELLS = "prompt,answer\n2+2?,4\n3+4?,7\n"


def read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return tables.read(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl", LINES.encode("utf-8-sig")),
        ("a.jsonl", LINES.encode("utf-16")),
        ("a.jsonl", LINES.replace("\n", "\r\n\r\n")),
        ("a.jsonl", LINES.replace("\n", "\r")),
        ("a.jsonl", json.dumps(TWO, indent=1)),
        ("a.json", "\n" + json.dumps(TWO)),
        ("a.json", LINES),
        ("a.csv", CELLS),
        ("A.CSV", CELLS.encode("utf-8-sig")),
        ("a.csv", CELLS.encode("utf-16")),
        ("a.csv", CELLS.replace("\n", "\r\n")),
        ("a.csv", CELLS.replace("\n", "\r")),
        ("a.csv", " prompt , answer\n2+2?,4\n\n3+4?,7\n , \n"),
        ("a.csv", "prompt,answer,\n2+2?,4,\n3+4?,7,\n,,\n"),
        ("a.csv", "prompt,answer\n2+2?,4,,\n3+4?,7\n"),
        ("a.csv", ",prompt,answer\n0,2+2?,4\n1,3+4?,7\n"),
        ("a.tsv", CELLS.replace(",", "\t")),
    ],
)
def test_what_has_one_meaning_is_read(tmp_path, name, content):
    assert read(tmp_path, name, content) == TWO


def test_cells_may_hold_anything(tmp_path):
    said = ['He said "so",\nthen left.', "x" * 300_000, "a;b\tc", "\u2028é\x85"]
    path = tmp_path / "a.csv"
    pd.DataFrame({"prompt": said}).to_csv(path, index=False)
    assert [row["prompt"] for row in tables.read(path)] == said


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "prompt,answer\n2+2?,4\nOne, two?,3\n", r"row 2 \(line 3\) has 3 cells, .* 2 c"),
        ("a.csv", "prompt,answer,\nOne, two?,3\n", r"row 1 \(line 2\) has 3 cells"),
        ("a.csv", "prompt,answer\n2+2?\n", r"row 1 \(line 2\) has 1 cells"),
        ("a.csv", "prompt\nOne, two?\n", r"row 1 \(line 2\) has 2 cells"),
        ("a.csv", "prompt;answer\n2+2?;4\n", "its columns are 'prompt;answer', which is one: sep"),
        ("a.csv", CELLS.replace(",", "\t"), "separate them by commas .*not by"),
        ("a.tsv", CELLS, "separate them by tabs, not by ','"),
        ("a.csv", 'prompt,answer\n"2+2?,4\n3+4?,7\n', "line 3: .* is a quote left open"),
        ("a.csv", 'prompt,answer\n"a \\"b\\" c",4\n', "line 2: .* is a quote left open"),
        ("a.csv", "prompt,answer,answer\n2+2?,4,5\n", "column 'answer' is there twice"),
        ("a.csv", "prompt\ncafé\n".encode("cp1252"), r"line 2 is not UTF-8 \(byte 0xe9; Windows"),
        ("a.csv", CELLS.encode("utf-16-le"), "line 1 holds a NUL byte"),
        ("a.csv", CELLS.encode("utf-16")[:-1], "is not UTF-16"),
        ("a.jsonl", LINES + "\n2\n", "line 4 is not a JSON object"),
        ("a.jsonl", LINES + '{"prompt": "a",}', "line 3 is not JSON"),
        ("a.jsonl", '{"prompt": "a", "prompt": "b"}', "line 1 .*'prompt' is there twice"),
        ("a.json", '[{"prompt": "a"}, 3]', "row 2 is not a JSON object"),
        ("a.json", '[{"prompt": "a"},]', "Expecting value|trailing comma"),
        ("a.jsonl", LINES + '{"prompt": "a \\ud83d b"}', r"row 3, column 'prompt': .ud83d is"),
        ("a.json", r'[{"m": [{"content": "\udc00"}]}]', r"row 1, column 'm': .udc00 is half a"),
        ("a.json", r'[{"\ud800": 1}]', r"row 1, column '.ud800': .ud800 is half"),
    ],
)  # fmt: skip
def test_what_could_be_misread_is_an_error(tmp_path, name, content, words):
    with pytest.raises(UserError, match=f"data file .*/{name} cannot be read: .*{words}") as caught:
        read(tmp_path, name, content)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_a_whole_pair_of_escapes_is_a_character(tmp_path):
    assert read(tmp_path, "a.jsonl", r'{"prompt": "\ud83d\ude00"}') == [{"prompt": "\U0001f600"}]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "7"), (145.0, "145"), (-0.5, "-0.5"), (1e-05, "0.00001"), (1e22, "1" + "0" * 22),
        (True, "true"), (" x ", "x"), (0, "0"), (None, ""), (math.nan, ""), ("nan", ""), ("", ""),
    ],
)  # fmt: skip
def test_text(value, said):
    assert tables.text(value) == said


@pytest.mark.parametrize("value", [["7"], {"a": 1}, math.inf])
def test_what_is_no_text(value):
    with pytest.raises(ValueError, match="is neither text nor a number"):
        tables.text(value)


def test_ids_given_and_numbered():
    rows = [{"id": 0}, {}, {"id": math.nan}, {"id": "x-00001"}, {"id": " b "}, {"id": ""}]
    found = tables.ids(rows, "x-", "here")
    assert found[::3] == ["0", "x-00001"] and found[4] == "b" and len({*found}) == len(rows)
    with pytest.raises(UserError, match="here: rows 2 and 4 both have the id '1'; give each"):
        tables.ids([{}, {"id": 1}, {}, {"id": 1.0}], "x-", "here")


def test_a_set_with_numbers_for_text(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [{"id": 0, "prompt": "2+2?", "answer": 4.0, "category": 1}, {"prompt": 5, "answer": 5}]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = {r.prompt: (r.id, r.gold, r.category) for r in evalsets.load(str(path), "reasoning")}
    assert found == {"2+2?": ("0", "4", "1"), "5": ("own-00001", "5", "")}
    path.write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[1] | {"answer": math.nan}))
    with pytest.raises(UserError, match="row 2 has no text in column 'answer'"):
        evalsets.load(str(path), "reasoning")
    path.write_text("\n".join(map(json.dumps, [rows[0], rows[0]])))
    with pytest.raises(UserError, match=r"'own' .*: rows 1 and 2 both have the id '0'"):
        evalsets.load(str(path), "reasoning")


def test_a_relative_path_starts_at_the_project(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "own.jsonl").write_text(LINES)
    for folder in (tmp_path, tmp_path / "notebooks"):  # a shell's folder, a kernel's
        monkeypatch.chdir(folder)
        assert len(evalsets.load("own.jsonl", "reasoning")) == 2
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(evalsets.load("~/own.jsonl", "harmful")) == 2
