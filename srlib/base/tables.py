"""A JSONL, JSON, CSV or TSV file as records, and a cell of one as text.

    read(Path("mine.csv"))   ->   [{"prompt": "What is 3 + 4?", "answer": "7"}, …]
    text(145.0)              ->   "145"

A file of yours may come from a spreadsheet, pandas or a server. What has one meaning is read (a
byte order mark, UTF-16 with one, a JSON array, a cell of any length, pandas' column of row numbers
without a name); what could be misread is an error that names the file and the row.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..errors import UserError

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
KINDS = f"a path to a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file"
_MARKS = {  # UTF-32's begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
_MISSING = ("", "nan", "NaN", "<NA>")  # as pandas writes what is not there
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # an escape that may be half of a character


def named(name: str) -> bool:
    """Return whether a parameter names a file of one's own: by its ending."""
    return Path(name).suffix.lower() in SUFFIXES


def read(path: Path) -> list[dict]:
    """Read the records of a file with one of the SUFFIXES. UserError where it cannot be read."""
    if not path.is_file():
        raise UserError(f"data file {path} does not exist; check the path")
    try:
        content = _decoded(path.read_bytes())
        if path.suffix.lower() in (".csv", ".tsv"):
            return _table(content, "\t" if path.suffix.lower() == ".tsv" else ",")
        return _json(content)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"data file {path} cannot be read: {reason}") from error


def text(value: Any) -> str:
    """Return a cell as text, stripped: a number as one writes it (145.0 is "145", 1e-05 "0.00001"),
    true and false in lower case, "" for what is missing: null, NaN, an empty cell. ValueError for
    anything else, such as a list."""
    if isinstance(value, str):
        return "" if (stripped := value.strip()) in _MISSING else stripped
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
    if isinstance(value, int):
        return str(value)
    raise ValueError(f"{value!r} is neither text nor a number")


def cell(record: dict, column: str) -> str:
    """Return one cell as `text` has it, "" for what is no text."""
    try:
        return text(record.get(column))
    except ValueError:
        return ""


def ids(records: Sequence[dict], prefix: str, where: str) -> list[str]:
    """Return an id for every record: its column `id`, or where that is missing the prefix and the
    record's number, never one that is given. UserError where an id is given twice."""
    rows: dict[str, int] = {}
    given = [cell(record, "id") for record in records]
    for number, name in enumerate(given, start=1):
        if name and rows.setdefault(name, number) != number:
            raise UserError(
                f"{where}: rows {rows[name]} and {number} both have the id {name!r}; give each row "
                "its own, or leave the column out"
            )
    return [name or _free(f"{prefix}{i:05d}", rows) for i, name in enumerate(given)]


def _free(name: str, taken: dict) -> str:
    while name in taken:
        name += "+"
    return name


def _decoded(blob: bytes) -> str:
    """Decode a file's text, its lines ended by line feeds. ValueError where that is not certain."""
    encoding = next((e for mark, e in _MARKS.items() if blob.startswith(mark)), "utf-8-sig")
    try:
        content = blob.decode(encoding)
    except UnicodeDecodeError as error:
        line = blob[: error.start].count(b"\n") + 1
        name, byte = encoding.removesuffix("-sig").upper(), blob[error.start]
        raise ValueError(
            f"line {line} is not {name} (byte 0x{byte:02x}; Windows-1252?); save it as UTF-8"
        ) from None
    if "\0" in content:
        line = content[: content.index("\0")].count("\n") + 1
        raise ValueError(f"line {line} holds a NUL byte (UTF-16 without its mark?); save as UTF-8")
    return content.replace("\r\n", "\n").replace("\r", "\n")


def _json(content: str) -> list[dict]:
    """Return the objects of a JSON array, or of one line each (JSONL)."""
    if content.lstrip().startswith("["):
        entries = [("row", number, one) for number, one in enumerate(_parsed(content), start=1)]
    else:
        lines = enumerate(content.split("\n"), start=1)  # no splitlines: texts hold U+2028
        entries = [("line", number, _line(line, number)) for number, line in lines if line.strip()]
    escaped = _HALF.search(content)
    for row, (what, number, record) in enumerate(entries, start=1):
        if not isinstance(record, dict):
            raise ValueError(f"{what} {number} is not a JSON object with named columns")
        if escaped:
            _whole(record, row)
    return [record for _, _, record in entries]


def _line(line: str, number: int) -> Any:
    try:
        return _parsed(line)
    except ValueError as error:
        raise ValueError(f"line {number} is not JSON ({error})") from None


def _parsed(content: str) -> Any:
    return json.loads(content, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict:
    """Build a JSON object. ValueError for a name given twice, where plain JSON takes the last."""
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"{twice!r} is there twice in one object")
    return mapping


def _whole(record: dict, row: int) -> None:
    """Raise ValueError where a text holds half a character, which no tokenizer or file takes."""
    for column, value in record.items():
        try:
            json.dumps([column, value], ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise ValueError(
                f"row {row}, column {column!a}: {half} is half a character (a lone "
                "surrogate); write the whole one, or take it out"
            ) from None


def _table(content: str, delimiter: str) -> list[dict]:
    """Return the rows below the header, by its names; rows without any text are left out."""
    limit = csv.field_size_limit(2**31 - 1)  # by default 131,072 characters a cell
    reader = csv.reader(io.StringIO(content), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(c.strip() for c in row)]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}; is a quote left open there?") from None
    finally:
        csv.field_size_limit(limit)
    if not rows:
        return []
    names = [name.strip() for name in rows[0][1]]
    _check_header(names, delimiter)
    return [_row(names, row, number, line) for number, (line, row) in enumerate(rows[1:], start=1)]


def _check_header(names: list[str], delimiter: str) -> None:
    if len(names) == 1 and (other := [d for d in ",;\t|" if d in names[0] and d != delimiter]):
        wanted = "tabs" if delimiter == "\t" else "commas (or tabs, in a .tsv file)"
        raise ValueError(
            f"its columns are {names[0]!r}, which is one: separate them by {wanted}, not "
            f"by {other[0]!r}"
        )
    if twice := [name for i, name in enumerate(names) if name and name in names[:i]]:
        raise ValueError(f"column {twice[0]!r} is there twice; keep one")


def _row(names: list[str], row: list[str], number: int, line: int) -> dict:
    """Return a row's cells by column name. The first column may have none (pandas' row numbers);
    cells beyond the names must be empty. ValueError where cells are missing or too many."""
    nameless = [c for i, c in enumerate(row) if i and not "".join(names[i : i + 1])]
    if len(row) < len(names) or any(c.strip() for c in nameless):
        raise ValueError(
            f"row {number} (line {line}) has {len(row)} cells, and the header names "
            f"{len([*filter(None, names)])} columns; put a cell that holds a comma or a line break "
            "in quotes"
        )
    return {name: value for name, value in zip(names, row, strict=False) if name}
