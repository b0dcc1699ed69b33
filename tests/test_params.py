"""Parameter files and `parameters` cells: what passes, and how readable the errors are."""

from __future__ import annotations

import re

import nbformat
import pytest

from srlib import params
from srlib.errors import UserError

CELL = """\
# what a reader may change
model: str = "embedded"  # a folder, a hub name, or "embedded"
limit: int = 64  # harmful requests an arm
learning_rate: float = 2e-4  # LoRA
arms: list[str] = ["direct", "few-shot k=4"]  # prompt styles
shots: list[int] = [
    0,
    4,
]  # demonstrations
judge: str | None = None  # a judge's name; None for the offline grader #1
top_p: float | None = None
sample: bool = False
grader: Literal["offline", "rubric"] = "offline"
weights: dict[str, int] = {"math": 3, "code": -1}
"""
HEADER = "# two CPU cores, 4 GB; 6 minutes\n"


def write_notebook(path, source=CELL, tags=("parameters",), kind="code"):
    new = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    injected = nbformat.v4.new_code_cell("limit = 3", metadata={"tags": ["injected-parameters"]})
    cells = [
        nbformat.v4.new_markdown_cell("# Q"),
        new(source, metadata={"tags": [*tags]}),
        injected,
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project folder with one notebook, `01_demo`, and two profiles."""
    for folder in ("notebooks", "params/quick", "params/smoke"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    write_notebook(tmp_path / "notebooks/01_demo.ipynb")
    for profile in ("quick", "smoke"):
        (tmp_path / f"params/{profile}/01_demo.yaml").write_text(HEADER + "limit: 8\n")
    (tmp_path / "params/quick/00_first.yaml").write_text(HEADER + "limit: 8\n")
    monkeypatch.chdir(tmp_path / "notebooks")  # where JupyterLab's kernels start
    return tmp_path


@pytest.fixture
def cell(project):
    return params.signature("01_demo")


def fails(call, *args, **kwargs) -> str:
    """The message of the UserError that the call raises, which must be one line."""
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_signature_has_names_types_defaults_and_help(cell):
    assert [*cell][:3] == ["model", "limit", "learning_rate"] and len(cell) == 10
    assert cell["limit"] == params.Parameter("limit", "int", int, 64, "harmful requests an arm")
    assert cell["judge"].annotation == "str | None"
    assert cell["judge"].help == "a judge's name; None for the offline grader #1"
    assert cell["shots"].default == [0, 4] and cell["shots"].help == "demonstrations"
    assert cell["top_p"].help == ""
    assert cell["weights"].default == {"math": 3, "code": -1}


OTHER = ["import os", "limit = 64", "limit: int", "limit: int = 2 * n", "limit: int = len([1])"]


@pytest.mark.parametrize("line", [*OTHER, "path: Path = 'x'", "P.limit: int = 3", "print('x')"])
def test_signature_takes_literal_lines_only(tmp_path, line):
    path = write_notebook(tmp_path / "n.ipynb", CELL + line + "\n")
    message = fails(params.signature, path)
    assert "n.ipynb, parameters cell, line 15" in message and "limit: int = 64" in message


def test_signature_names_the_line_of_a_syntax_error(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "a: int = 1\nb: int = = 2\n")
    assert "line 2" in fails(params.signature, path)


def test_signature_wants_one_tagged_code_cell_and_fitting_defaults(tmp_path):
    path = tmp_path / "n.ipynb"
    for tags, kind in [((), "code"), (("parameter",), "code"), (("parameters",), "markdown")]:
        write_notebook(path, tags=tags, kind=kind)
        assert "tag one code cell" in fails(params.signature, path)
    assert "twice" in fails(params.signature, write_notebook(path, "a: int = 1\na: int = 2"))
    assert "a is 1.5" in fails(params.signature, write_notebook(path, "a: int = 1.5"))
    path.write_text("{")
    assert "not a notebook" in fails(params.signature, path)


def test_check_fills_in_defaults_and_does_not_share_them(cell):
    values = params.check({"limit": 3}, cell, "here")
    assert list(values) == list(cell) and values["limit"] == 3 and values["judge"] is None
    values["arms"].append("x")
    assert cell["arms"].default == ["direct", "few-shot k=4"]


TAKEN = {
    "learning_rate": [("1e-5", 1e-5), ("2.5E+3", 2500.0), (1, 1.0)],
    "top_p": [("9e-1", 0.9), (None, None)],
    "judge": [("rubric", "rubric"), ("1e-5", "1e-5")],
    "grader": [("rubric", "rubric")],
    "arms": [([], [])],
    "weights": [({}, {})],
}


@pytest.mark.parametrize(("name", "given", "taken"), [(n, *v) for n in TAKEN for v in TAKEN[n]])
def test_check_takes(cell, name, given, taken):
    value = params.check({name: given}, cell, "here")[name]
    assert value == taken and type(value) is type(taken)


NAN = float("nan")
WRONG = {
    "limit": [("64", '"64"'), (True, "true"), (8.0, "8.0"), (None, "null")],
    "learning_rate": [("high", '"high"'), ("0.5", '"0.5"'), (False, "false"), (NAN, "nan")],
    "sample": [("yes", '"yes"'), ("true", '"true"'), (1, "1")],
    "model": [(3, "3"), (None, "null")],
    "arms": [("direct", '"direct"'), (["direct", 4], "['direct', 4]")],
    "shots": [([True], "[True]")],
    "grader": [("rubrik", '"rubrik"')],
    "weights": [({"math": 0.5}, "{'math': 0.5}")],
}


@pytest.mark.parametrize(("name", "given", "shown"), [(n, *v) for n in WRONG for v in WRONG[n]])
def test_check_names_key_value_and_type(cell, name, given, shown):
    message = fails(params.check, {name: given}, cell, "quick.yaml")
    assert message.startswith(f"quick.yaml: {name} is {shown}, expected {cell[name].annotation}")


def test_check_offers_the_nearest_known_key_and_counts_the_rest(cell):
    message = fails(params.check, {"limt": 1}, cell, "x")
    assert 'unknown parameter "limt"; did you mean "limit"?' in message
    assert "(known: arms, grader," in fails(params.check, {"zzzz": 1}, cell, "x")
    assert 'unknown parameter "1"' in fails(params.check, {1: 1}, cell, "x")
    five = {"limt": 1, "limit": "a", "arms": 1, "model": 2, "top_p": "b"}
    message = fails(params.check, five, cell, "x")
    assert message.count("expected") == 2 and message.endswith("; and 2 more")


def test_load_reads_a_file_and_its_header(project):
    file = params.load(project / "params/quick/01_demo.yaml")
    assert file.path.name == "01_demo.yaml"
    assert file.notebook == project / "notebooks/01_demo.ipynb"
    assert file.values["limit"] == 8 and file.values["model"] == "embedded"
    assert file.header == params.Header("two CPU cores, 4 GB", 6.0)


def test_load_takes_a_file_of_any_name_with_its_notebook(project):
    path = project / "mine.yaml"
    path.write_text("# one GPU; 80 GB; about 7.5 min\nlearning_rate: 1e-5\n")
    file = params.load(path, notebook="01_demo")
    assert file.values["learning_rate"] == 1e-5
    assert file.header == params.Header("one GPU; 80 GB", 7.5)
    assert 'no notebook "mine"' in fails(params.load, path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + "limit: 8\narms: [direct\n", "line 4"),
        (HEADER + "limit: 8\nlimit: 9\n", 'line 3: not readable as YAML: "limit" is given twi'),
        (HEADER + "weights: {math: 1, math: 2}\n", '"math" is given twice'),
        (HEADER + "- 8\n", "give at least one parameter"),
        (HEADER, "give at least one parameter"),
        ("limit: 8\n", "start with a line such as"),
        ("# two CPU cores; 4 GB\nlimit: 8  # 6 minutes\n", "start with a line such as"),
        (HEADER + "limt: 8\n", 'did you mean "limit"'),
        (HEADER + "arms: [!!python/name:os.system x]\n", "not readable as YAML"),
        (HEADER + "model: 2024-13-45\n", "not readable as YAML"),
        (HEADER + "limit: 010\n", "line 2: .* 010 would be read to base 8"),
        (HEADER + "limit: -1:30\n", "-1:30 would be read to base 60"),
        (HEADER + "learning_rate: 1:30.5\n", "1:30.5 would be read to base 60"),
        (HEADER + "shots: [4, 00]\n", "00 would be read to base 8"),
        (HEADER + "weights: {math: 12:30:00}\n", "12:30:00 would be read to base 60"),
        (HEADER + "limit: 08\n", 'limit is "08", expected int'),
        (HEADER + "limit: 0o17\n", 'limit is "0o17", expected int'),
        (HEADER + "limit: 1e3\n", 'limit is "1e3", expected int'),
        (HEADER + "model: no\n", "model is false, expected str"),
        (HEADER + "model: 2024-01-02\n", "model is datetime.date"),
        (HEADER + "limit: 3\n\tmodel: x\n", "line 3: not readable as YAML"),
        (HEADER + "limit: 3\n---\nlimit: 4\n", "found another document"),
        (HEADER + "limit: 99999999999999999999\n", "give 2147483647 or less"),
    ],
)
def test_load_says_what_is_wrong(project, text, said):
    path = project / "params/quick/01_demo.yaml"
    path.write_text(text)
    message = fails(params.load, path)
    assert re.search(said, message) and "01_demo.yaml" in message


@pytest.mark.parametrize(
    ("line", "name", "taken"),
    [
        ("limit: 1_000", "limit", 1000),
        ("limit: 0x10", "limit", 16),
        ("limit: +5", "limit", 5),
        ("learning_rate: 1e-4", "learning_rate", 1e-4),
        ("learning_rate: .5", "learning_rate", 0.5),
        ("sample: yes", "sample", True),
        ("sample: off", "sample", False),
        ('model: "010"', "model", "010"),
        ('model: "1:30"', "model", "1:30"),
    ],
)
def test_load_reads_what_was_meant(project, line, name, taken):
    path = project / "params/quick/01_demo.yaml"
    for begun in (HEADER, "\ufeff" + HEADER.replace("\n", "\r\n")):
        path.write_text(begun + line + "\n", "utf-8", newline="")
        assert params.load(path).values[name] == taken


def test_a_path_starts_at_the_project(project, monkeypatch):
    monkeypatch.setenv("HOME", str(project / "home"))
    for folder in (project, project / "notebooks", project / "params/quick"):
        monkeypatch.chdir(folder)
        assert params.place("data/x.csv") == project / "data/x.csv"
    assert params.place("~/x.csv") == project / "home/x.csv"
    assert params.place("/x.csv").as_posix() == "/x.csv"


def test_load_offers_the_nearest_file_and_notebook(project):
    folder = project / "params/quick"
    assert f'did you mean "{folder}/01_demo.yaml"' in fails(params.load, folder / "01_dem.yaml")
    message = fails(params.load, "params/quik/01_demo.yaml")
    assert 'did you mean "params/quick/01_demo.yaml"' in message
    (folder / "01_dmo.yaml").write_text(HEADER + "limit: 8\n")
    message = fails(params.load, folder / "01_dmo.yaml")
    assert 'no notebook "01_dmo"; did you mean "01_demo"?' in message


def test_profile_files(project):
    names = [p.name for p in params.profile_files("quick", project)]
    assert names == ["00_first.yaml", "01_demo.yaml"]
    one = project / "params/quick/01_demo.yaml"
    assert params.profile_files(one, project) == [one]
    assert params.profile_files(one.parent, project)[1] == one
    message = fails(params.profile_files, "qick", project)
    assert 'did you mean "quick"? (known: quick, smoke)' in message
    assert "no parameter file" in fails(params.profile_files, "no.yaml", project)


def test_from_notebook_takes_injected_values_and_freezes_them(project):
    space = {"__name__": "__main__", "In": [""], "Out": {}, "nbformat": nbformat}
    exec("from typing import Literal\n" + CELL, space)
    space |= {"limit": 5, "learning_rate": "1e-5"}  # what papermill's injected cell leaves
    values = params.from_notebook("01_demo", space)
    assert values.limit == 5 and values.learning_rate == 1e-5 and values.judge is None
    with pytest.raises(AttributeError, match="parameters cell"):
        values.limit = 6
    values.as_dict()["arms"].clear()
    assert values.arms == ["direct", "few-shot k=4"]
    space["limit"] = "5"
    assert "01_demo: limit is" in fails(params.from_notebook, "01_demo", space)


def test_from_notebook_reports_a_misspelt_parameter_once(project):
    space = {n: p.default for n, p in params.signature("01_demo").items()} | {"limt": 5}
    message = fails(params.from_notebook, "01_demo", space)
    assert 'unknown parameter "limt"; did you mean "limit"?' in message
    assert params.from_notebook("01_demo", space).limit == 64
    space["mine"] = [1]
    assert params.from_notebook("01_demo", space).limit == 64
    del space["limit"]
    assert "limit is not set" in fails(params.from_notebook, "01_demo", space)


def test_root_is_found_from_inside_and_outside(project, monkeypatch, tmp_path_factory):
    assert params.root() == project
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setattr(params, "__file__", str(project / "srlib/params.py"))
    assert params.root() == project
    monkeypatch.setattr(params, "__file__", "/nowhere/srlib/params.py")
    assert "pyproject.toml" in fails(params.root)
