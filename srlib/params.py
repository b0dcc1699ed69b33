"""A parameter file in, checked values out.

A notebook says what it takes in a code cell tagged `parameters`, literals only. One YAML is one run
of the notebook it is named after. Runner and notebook both check it, as papermill
(nteract/papermill) only warns on unknown keys, misses annotations such as `str | None` and loads
`1e-5` as text. A line of such a cell, and a file params/<profile>/<notebook>.yaml for it:

    limit: int = 64  # harmful requests an arm

    # two CPU cores, 4 GB; 6 minutes
    limit: 48
"""

from __future__ import annotations

import ast
import copy
import difflib
import io
import json
import re
import tokenize
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple

import yaml

from .base import bounds, layers
from .errors import UserError

_TYPES = {t.__name__: t for t in (int, float, str, bool, list, dict)} | {"Literal": Literal}
_WORDS = {"int": "whole number", "float": "number", "bool": "true or false", "str": "quoted text"}
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_TIME = r"(?P<time>\d+(\.\d+)?)\s*(?P<unit>min(ute)?s?|h(our)?s?)\b"
_HEADER = re.compile(rf"#\s*(?P<hardware>\S.*?)\s*;[^;\d]*{_TIME}")
_PLAIN = (int, float, str, bool, list, dict, type(None))
CHANGES = Path("--set")  # stands for the file of what the command line changes
NO_PROFILES = {"accelerate", "sweeps"}  # folders of params/ that hold files of another kind
_IPYTHON = {"In", "Out", "exit", "quit", "get_ipython", "open"}


class Parameter(NamedTuple):
    """One line of a `parameters` cell; `annotation` as written, `help` is "" without a comment."""

    name: str
    annotation: str
    type: Any
    default: Any
    help: str


class Header(NamedTuple):
    """What a parameter file's first line says: hardware in words, wall time in minutes."""

    hardware: str
    minutes: float


class ParamFile(NamedTuple):
    """One checked parameter file: `notebook` is the .ipynb it is for, `values` the full set, `said`
    names the file that gave a value, where one did."""

    path: Path
    notebook: Path
    values: dict[str, Any]
    header: Header
    said: dict[str, Path] | None = None


class Values(SimpleNamespace):
    """A notebook's checked parameters as attributes: `P.limit`."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"P.{name} is fixed: change it in the parameters cell and rerun that")

    def as_dict(self) -> dict[str, Any]:
        return copy.deepcopy(vars(self))


def root() -> Path:
    """Return the project's folder: at or above the working folder, else the package's checkout."""
    above = Path(__file__).resolve().parent.parent
    for folder in (Path.cwd(), *Path.cwd().parents, above):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise UserError("no project here: go to a folder that holds pyproject.toml and notebooks/")


def place(named: str | Path) -> Path:
    """Return a path that a parameter names, `~` expanded; a relative one starts at the project,
    wherever the kernel runs."""
    path = Path(named).expanduser()
    return path if path.is_absolute() else root() / path


def signature(notebook: str | Path) -> dict[str, Parameter]:
    """Return a notebook's parameters (a name in notebooks/, or an .ipynb path), in cell order.

    The cell that papermill adds to an executed notebook has another tag and does not count.
    UserError where the cell is missing, not unique, or holds anything but `name: type = literal`.
    """
    path = _notebook_file(notebook)
    return dict(_signature(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=64)
def _signature(path: Path, changed: int) -> dict[str, Parameter]:
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path.name} is not a notebook (nbformat 4): {error!r}") from None
    cells = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
    if [c["cell_type"] for c in cells] != ["code"]:
        raise UserError(f"{path.name}: tag one code cell `parameters`, and only one")
    source, where = "".join(cells[0]["source"]), f"{path.name}, parameters cell"
    try:
        lines = ast.parse(source).body
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except SyntaxError as error:
        raise UserError(f"{where}, line {error.lineno}: {error.msg}") from None
    helps = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    parameters = [_parameter(line, helps, f"{where}, line {line.lineno}") for line in lines]
    known = {p.name: p for p in parameters}
    if len(known) < len(parameters):
        raise UserError(f"{where}: a parameter is there twice, keep one of {sorted(known)}")
    check({}, known, where)  # the defaults keep to their own types
    return known


def _notebook_file(notebook: str | Path) -> Path:
    path = Path(notebook)
    path = path if path.suffix == ".ipynb" else root() / "notebooks" / f"{notebook}.ipynb"
    if path.is_file():
        return path
    known = [p.stem for p in path.parent.glob("*.ipynb")]
    raise UserError(f'no notebook "{path.stem}"{_nearest(path.stem, known)}')


def _parameter(line: ast.stmt, helps: dict[int, str], where: str) -> Parameter:
    try:
        name, annotation = line.target.id, ast.unparse(line.annotation)
        kind, default = _evaluate(annotation), ast.literal_eval(line.value)
    except (AttributeError, NameError, TypeError, ValueError):
        wanted = "only lines such as `limit: int = 64  # help`, with literals, belong here"
        raise UserError(f"{where}: {wanted}, not {_show(ast.unparse(line))}") from None
    return Parameter(name, annotation, kind, default, helps.get(line.end_lineno, ""))


def _evaluate(annotation: str, **types: Any) -> Any:
    return eval(annotation, {"__builtins__": {}, **_TYPES, **types})  # other names: NameError


def check(values: dict[str, Any], signature: dict[str, Parameter], where: str) -> dict[str, Any]:
    """Return all values of `signature`, those not in `values` by default, in the signature's order.

    Types are strict (no text for a bool, no bool or 8.0 for an int), but a float may be an int, or
    text such as "1e-5", no number to YAML 1.1; then come the bounds (`srlib.base.bounds`).
    UserError: `where` and the first three problems.
    """
    from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

    number = Annotated[float, BeforeValidator(_number)]
    config = ConfigDict(strict=True, allow_inf_nan=False)
    checked, unknown = {}, [key for key in values if key not in signature]
    problems = [f'unknown parameter "{key}"{_nearest(str(key), signature)}' for key in unknown]
    for name, p in signature.items():
        value = values.get(name, p.default)
        kind = TypeAdapter(_evaluate(p.annotation, float=number), config=config)
        try:
            checked[name] = kind.validate_python(value)
        except ValidationError:
            words = f" ({_WORDS[p.annotation]})" if p.annotation in _WORDS else ""
            example = f", such as {_show(p.default)}" if name in values else ""
            problems.append(f"{name} is {_show(value)}, expected {p.annotation}{words}{example}")
    problems += bounds.faults({name: checked[name] for name in signature if name in checked})
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(f"{where}: {'; '.join(problems[:3])}{more}")
    return checked


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _show(value: Any) -> str:
    text = " ".join(repr(value).split())
    if value is None or isinstance(value, str | bool):  # as in YAML: null, true, "text"
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def _nearest(word: str, known: Iterable[str], every: bool = False) -> str:
    """Return a message's end: the known word probably meant, else (or also) all of them."""
    close = difflib.get_close_matches(word, known := sorted(known), n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return hint if close and not every else f"{hint} (known: {', '.join(known)})"


def load(
    path: str | Path,
    notebook: str | Path | None = None,
    changes: dict[str, Any] | None = None,
) -> ParamFile:
    """Load and check one parameter file; `notebook` where the file is not named after it.

    Beneath it lie its folder's profile.yaml and what that extends (`srlib.base.layers`); a notebook
    that profile.yaml names needs no file of its own. `changes` lie above. A notebook takes the
    shared parameters that it has; one that no notebook has is an error.
    """
    path, project = _existing(Path(path), root()), root()
    stack, file = layers.of(path, project), _notebook_file(notebook or path.stem)
    header = _header(path, stack, layers.notebooks(path.parent, project))
    parameters, values, said = signature(file), {}, {}
    if any(layer.shared for layer in stack) and "profile" in parameters:
        values["profile"] = path.parent.name
    for layer in [*stack, layers.Layer(CHANGES, changes or {}, shared=True)]:
        own = _of_this(layer, parameters) if layer.shared else layer.values
        if layer.path.parent != path.parent and layer.path != CHANGES:
            own = {k: v for k, v in own.items() if k != "profile"}
        values |= own
        said |= dict.fromkeys(own, layer.path)
    where = path if path.is_file() else path.parent / layers.SHARED
    return ParamFile(path, file, check(values, parameters, str(where)), header, said)


def _of_this(layer: layers.Layer, mine: dict[str, Parameter]) -> dict[str, Any]:
    """Return what a layer that notebooks share sets for the notebook with these parameters."""
    values = {k: v for k, v in layer.values.items() if k not in layers.KEYS}
    if lacking := [k for k in values if k not in mine]:
        known = {*mine, *others()}
        if stray := [k for k in lacking if k not in known]:
            hint = _nearest(str(stray[0]), known)
            raise UserError(f'{layer.path}: no notebook has a parameter "{stray[0]}"{hint}')
    return {k: v for k, v in values.items() if k in mine}


def others() -> set[str]:
    """Return the names of all parameters of the project's notebooks."""
    return {name for path in (root() / "notebooks").glob("*.ipynb") for name in signature(path)}


def _header(path: Path, found: list[layers.Layer], minutes: dict[str, float]) -> Header:
    """Return hardware and minutes: from the file's own first line, else from its profile."""
    if own := [header_of(layer) for layer in found if layer.path == path and header_of(layer)]:
        return own[0]
    shared = [header_of(layer) for layer in found if layer.shared and header_of(layer)]
    if path.stem not in minutes or not shared:
        raise UserError(f"{path}: start with a line such as `# two CPU cores, 4 GB; 6 minutes`")
    return Header(shared[-1].hardware, float(minutes[path.stem]))


def header_of(layer: layers.Layer) -> Header | None:
    """Parse a file's first line; return None where it does not name hardware and time."""
    line = _HEADER.match(layer.first_line)
    return line and Header(
        line["hardware"], float(line["time"]) * (60 if line["unit"][0] == "h" else 1)
    )


def dump(file: ParamFile) -> str:
    """Return a file's values as YAML that needs no other file; beside each, which file gave it."""
    lines = [f"# {file.header.hardware}; {file.header.minutes:g} minutes"]
    for name, value in file.values.items():
        text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
        path = (file.said or {}).get(name)
        comment = f"  # {_short(path)}" if path else ""
        lines.append(f"{name}: {text.strip().removesuffix('...').strip()}{comment}")
    return "\n".join(lines) + "\n"


def _short(path: Path) -> str:
    inside = path != CHANGES and path.resolve().is_relative_to(root())
    return (path.resolve().relative_to(root()) if inside else path).as_posix()


def _existing(path: Path, project: Path) -> Path:
    if path.name != layers.SHARED and layers.is_there(path, project):
        return path
    others = [p.relative_to(project) for p in _of_profiles(project)]
    known = [p.as_posix() for p in _in_folder(path.parent, project) or others]
    raise UserError(f"no parameter file {path}{_nearest(path.as_posix(), known)}")


def _in_folder(folder: Path, project: Path) -> list[Path]:
    """Return a folder's parameter files, one a notebook: existing, or named in profile.yaml."""
    names = {*layers.notebooks(folder, project), *(p.stem for p in folder.glob("*.yaml"))}
    return [folder / f"{name}.yaml" for name in sorted(names - {Path(layers.SHARED).stem})]


def _of_profiles(root: Path) -> list[Path]:
    folders = [p for p in root.glob("params/*") if p.is_dir() and p.name not in NO_PROFILES]
    return [file for folder in sorted(folders) for file in _in_folder(folder, root)]


def profile_files(name_or_path: str | Path, root: Path) -> list[Path]:
    """Return the parameter files of a profile (a folder in params/, or any), or the one named."""
    if str(name_or_path).endswith((".yaml", ".yml")):
        return [_existing(Path(name_or_path), root)]
    for folder in (root / "params" / name_or_path, Path(name_or_path)):
        if folder.name not in NO_PROFILES and (files := _in_folder(folder, root)):
            return files
    known = {p.parent.name for p in _of_profiles(root)}
    raise UserError(f'no profile "{name_or_path}"{_nearest(str(name_or_path), known, every=True)}')


def from_notebook(name: str, namespace: dict[str, Any]) -> Values:
    """Return a notebook's parameters, checked, from its `globals()`, where papermill may set them.

    On the first call in a kernel a plain value under another name is an error too, as it may be a
    misspelt parameter; later calls let it pass, for whoever steps through and makes variables.
    """
    known = signature(name)
    if missing := [n for n in known if n not in namespace]:
        raise UserError(f"{name}: run the cell tagged `parameters` first, {missing[0]} is not set")
    stray = {n for n, v in namespace.items() if type(v) in _PLAIN and not n.startswith("_")}
    stray -= {*known, *_IPYTHON}
    if namespace.get("extends"):  # a profile.yaml, given to papermill
        command = f"python -m srlib params PROFILE {name} > mine.yaml"
        raise UserError(f"{name}: papermill follows no `extends`: give it the file of `{command}`")
    stray -= {*layers.KEYS, *others()} if stray else set()
    first = not namespace.get("_srlib_checked")
    namespace["_srlib_checked"] = True
    if first and stray:
        hint = _nearest(word := min(stray), known)
        raise UserError(f'{name}: unknown parameter "{word}"{hint} (a variable? rerun this cell)')
    return Values(**check({n: namespace[n] for n in known}, known, name))


def output_folder(values: dict) -> Path:
    """Return the `outputs` parameter as a path; a relative one starts at the project's root."""
    return place(values["outputs"])
