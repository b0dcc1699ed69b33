"""Parameter files that lie on top of each other: what a profile shares, and what it extends.

    # params/mine/profile.yaml              what all notebooks of the profile share
    # one 24 GB GPU; 3 hours
    extends: gpu-small                      another profile, which lies beneath this one
    minutes: {02_long_cot_finetuning: 180}  the notebooks that it runs, how long each takes
    model: my/model

params/mine/02_long_cot_finetuning.yaml says what is different for one; it need not be there.

    of(Path("params/mine/02_long_cot_finetuning.yaml"), root)   ->   layers, the lowest first
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..errors import UserError

SHARED = "profile.yaml"
KEYS = ("extends", "minutes")  # of a profile.yaml: they are no notebook's parameters


class Layer(NamedTuple):
    """One file: its `values`, its first line, which says hardware and minutes, and whether it is
    `shared`: notebooks that lack one of its parameters pass it over."""

    path: Path
    values: dict[str, Any]
    first_line: str = ""
    shared: bool = False


class Loader(yaml.SafeLoader):
    """The safe loader, where what YAML 1.1 reads otherwise than it looks is an error: a key given
    twice (the last counts), 010 (8, to base 8), 1:30 (90, to base 60)."""

    def _number(self, node: yaml.ScalarNode) -> int | float:
        if ":" in node.value or re.match(r"[-+]?0[0-9_]+$", node.value):
            base = 60 if ":" in node.value else 8
            read = f"{node.value} would be read to base {base}: write a plain number, or quote text"
            raise yaml.MarkedYAMLError(problem=read, problem_mark=node.start_mark)
        if node.tag.endswith("int"):
            return super().construct_yaml_int(node)
        return super().construct_yaml_float(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [k for k, _ in node.value if isinstance(k, yaml.ScalarNode)]
        for i, key in enumerate(keys):
            if key.value in [k.value for k in keys[:i]]:
                twice = f'"{key.value}" is given twice'
                raise yaml.MarkedYAMLError(problem=twice, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


for _tag in ("int", "float"):
    Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", Loader._number)


def value(text: str, where: str) -> Any:
    """Read YAML, a whole file or one value. Raises UserError, which says where and which line."""
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = " ".join(str(error.problem if mark else error).split())
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}: not readable as YAML: {reason}") from None


def read_text(path: Path) -> str:
    """Read a YAML file's text. Raises UserError for what is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except ValueError as error:
        raise UserError(f"{path}: not readable as YAML: {error}") from None


def read(path: Path) -> Layer:
    """Read one parameter file. Raises UserError for what is not YAML, or holds no parameters."""
    values = value(text := read_text(path), str(path))
    if not isinstance(values, dict):
        raise UserError(f"{path}: no `name: value` lines, give at least one parameter")
    return Layer(path, values, text.partition("\n")[0], path.name == SHARED)


def of(path: Path, root: Path) -> list[Layer]:
    """Return a parameter file and all that lies beneath it, the lowest first.

    Raises UserError as `read` does, and for profiles that extend each other or nothing that is
    there.
    """
    layers = []
    for folder, profile in reversed(_profiles(path.parent, root)):
        layers += [profile] if profile else []
        own = folder / path.name
        layers += [read(own)] if own.is_file() and path.name != SHARED else []
    return layers


def notebooks(folder: Path, root: Path) -> dict[str, float]:
    """Return the notebooks that a profile's folder runs by what its profile.yaml, or the nearest
    one beneath it, says: name -> minutes; {} where none says any."""
    for _, profile in _profiles(folder, root):
        minutes = profile.values.get("minutes", {}) if profile else {}
        if not isinstance(minutes, dict) or not all(map(_is_time, minutes.values())):
            raise UserError(f"{profile.path}: minutes is to be {{notebook: number, …}}")
        if minutes:
            return minutes
    return {}


def _is_time(minutes: Any) -> bool:
    return isinstance(minutes, int | float) and not isinstance(minutes, bool) and minutes > 0


def is_there(path: Path, root: Path) -> bool:
    """Return whether a parameter file can be loaded.

    It can where it exists, or where its profile runs its notebook."""
    return path.name != SHARED and (path.is_file() or path.stem in notebooks(path.parent, root))


def _profiles(folder: Path, root: Path) -> list[tuple[Path, Layer | None]]:
    """Return a profile's folder and its profile.yaml, if any, then those of what it extends."""
    profiles, seen = [], []
    while folder:
        seen.append(folder.resolve())
        file, beneath = folder / SHARED, None
        profile = read(file) if file.is_file() else None
        profiles.append((folder, profile))
        if profile and (name := profile.values.get("extends")):
            if not isinstance(name, str):
                raise UserError(f"{file}: extends is to be the name of one profile, not {name!r}")
            places = (root / "params" / name, root / Path(name).expanduser())
            beneath = next((place for place in places if place.is_dir()), None)
            if beneath is None:
                raise UserError(f"{file}: extends {name!r}, and there is no such profile")
            if beneath.resolve() in seen:
                raise UserError(f"{file}: extends {name!r}, which extends this profile")
        folder = beneath
    return profiles
