"""layers: a profile's shared parameters, what it extends, and what lies above and beneath."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from srlib import params
from srlib.base import layers
from srlib.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
HEAD = "# one GPU, 4 GB; 3 hours\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with notebooks 01_one (limit, rate, profile) and 02_two (rate, depth, profile)."""
    import nbformat

    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    for name, own in (("01_one", "limit: int = 1"), ("02_two", "depth: int = 1")):
        source = f'profile: str = "mine"\nrate: float = 0.5\n{own}\n'
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"notebooks/{name}.ipynb")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(project, **files):
    """Write parameter files: write(project, big__profile="…") is params/big/profile.yaml."""
    for name, text in files.items():
        path = project / "params" / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def values(project, path, **more):
    return params.load(project / "params" / path, **more).values


BIG = HEAD + "minutes: {01_one: 60, 02_two: 120}\nrate: 0.1\nlimit: 7\n"


def test_notebooks_take_what_they_have_of_what_a_profile_shares(project):
    write(project, big__profile=BIG, big__02_two="rate: 2e-3\n")
    one, two = (params.load(project / f"params/big/{n}.yaml") for n in ("01_one", "02_two"))
    assert one.values == {"profile": "big", "rate": 0.1, "limit": 7}
    assert two.values == {"profile": "big", "rate": 2e-3, "depth": 1}
    assert (one.header, two.header) == (("one GPU, 4 GB", 60), ("one GPU, 4 GB", 120))
    assert [f.name for f in params.profile_files("big", project)] == ["01_one.yaml", "02_two.yaml"]


def test_a_profile_lies_on_the_one_that_it_extends(project):
    write(
        project, big__profile=BIG + "profile: large\n", big__02_two="rate: 0.2\ndepth: 5\n",
        small__profile="# one, 4 GB; 9 minutes\nextends: big\nminutes: {02_two: 9}\ndepth: 3\n",
        tiny__profile="# a watch; 1 minute\nextends: small\n", tiny__02_two="rate: 0.9\n",
    )  # fmt: skip
    assert values(project, "big/02_two.yaml") == {"profile": "large", "rate": 0.2, "depth": 5}
    # What the lower profile says to one notebook alone lies beneath what the upper says to all.
    assert values(project, "small/02_two.yaml") == {"profile": "small", "rate": 0.2, "depth": 3}
    tiny = params.load(project / "params/tiny/02_two.yaml")
    assert tiny.values == {"profile": "tiny", "rate": 0.9, "depth": 3}
    assert tiny.header == ("a watch", 9)
    assert [f.stem for f in params.profile_files("small", project)] == ["02_two"]
    said = {
        name: path.relative_to(project / "params").as_posix() for name, path in tiny.said.items()
    }
    assert said == {"rate": "tiny/02_two.yaml", "depth": "small/profile.yaml"}


def test_what_the_command_line_sets_lies_above(project):
    write(project, big__profile=BIG, big__02_two="rate: 0.2\n")
    changes = {"rate": 0.7, "limit": 9}
    assert values(project, "big/01_one.yaml", changes=changes)["limit"] == 9
    assert values(project, "big/02_two.yaml", changes=changes) == {
        "profile": "big", "rate": 0.7, "depth": 1,
    }  # fmt: skip


def test_a_file_without_a_profile_stands_alone(project):
    write(project, old__01_one=HEAD + "limit: 3\n")
    alone = params.load(project / "params/old/01_one.yaml")
    assert alone.values == {"profile": "mine", "rate": 0.5, "limit": 3}
    assert alone.header.minutes == 180
    changed = params.load(project / "params/old/01_one.yaml", changes={"limit": 4})
    assert changed.values == alone.values | {"limit": 4}  # its profile, too


def test_the_resolved_file_needs_no_other(project):
    write(project, big__profile=BIG + "#\n", big__02_two="depth: 4\n")
    for name in ("01_one", "02_two"):
        file = params.load(project / f"params/big/{name}.yaml")
        write(project, **{f"alone__{name}": params.dump(file)})
        again = params.load(project / f"params/alone/{name}.yaml")
        assert (again.values, again.header) == (file.values, file.header)
    assert "depth: 4  # params/big/02_two.yaml" in params.dump(file)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"big__profile": BIG + "lmit: 3\n"}, 'a parameter "lmit"; did you mean "limit"'),
        ({"big__profile": BIG, "big__01_one": "depth: 3\n"}, 'unknown parameter "depth"'),
        ({"big__profile": BIG.replace("60", "soon")}, "minutes is to be {notebook: number"),
        ({"big__profile": BIG.replace("60", "-1")}, "minutes is to be {notebook: number"),
        ({"big__profile": BIG + "extends: huge\n"}, "extends 'huge', and there is no such profile"),
        ({"big__profile": BIG + "extends: big\n"}, "extends 'big', which extends this profile"),
        ({"big__profile": BIG + "extends: [a]\n"}, "extends is to be the name of one profile"),
        ({"big__profile": "rate: 1\n", "big__01_one": "limit: 2\n"}, "start with a line such"),
        ({"big__profile": BIG.replace("0.1", "fast")}, 'rate is "fast", expected float'),
        ({"big__profile": BIG.replace("01_one: 60, ", "")}, "no parameter file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(project, files, said):
    write(project, **files)
    with pytest.raises(UserError) as error:
        values(project, "big/01_one.yaml")
    assert said in str(error.value) and "big" in str(error.value)


def test_profiles_that_extend_each_other_are_an_error(project):
    write(project, big__profile=BIG + "extends: small\n", small__profile=HEAD + "extends: big\n")
    with pytest.raises(UserError, match="which extends this profile"):
        values(project, "big/01_one.yaml")


def test_papermill_may_be_given_a_whole_profile(project):
    write(project, big__profile=BIG)
    told = yaml.safe_load((project / "params/big/profile.yaml").read_text())
    space = {"profile": "big", "depth": 1} | told  # what papermill's injected cell leaves in 02_two
    assert params.from_notebook("02_two", dict(space)).rate == 0.1
    with pytest.raises(UserError, match='unknown parameter "lmit"'):
        params.from_notebook("02_two", space | {"lmit": 3})
    with pytest.raises(UserError, match="srlib params PROFILE 02_two"):
        params.from_notebook("02_two", space | {"extends": "small"})


def command(*words):
    run = [sys.executable, "-m", "srlib", *words]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_line_prints_and_sets_parameters(tmp_path):
    done = command("params", "study", "02", "--set", "n_harmful=7", "--set", "reasoning_shots=[3]")
    told = yaml.safe_load(done.stdout)
    assert (told["n_harmful"], told["n_train"], told["profile"]) == (7, 256, "study")
    assert "n_harmful: 7  # --set" in done.stdout and "# params/study/profile.yaml" in done.stdout
    for words, said in (
        (["n_harmfull=7"], 'did you mean "n_harmful"'),
        (["n_harmful"], "give name=value"),
        (["n_harmful=[7"], "not readable as YAML"),
        (["n_harmful=seven"], 'n_harmful is "seven", expected int'),
    ):
        failed = command("params", "study", "02", "--set", *words)
        assert failed.returncode == 1 and said in failed.stderr
    assert 'runs no notebook "09"' in command("params", "study", "09").stderr.replace("'", '"')


def test_every_shipped_profile_says_each_thing_once():
    """A line above that says what lies beneath already, or a notebook's default, says nothing."""
    folders = [f.parent for f in sorted((ROOT / "params").glob("*/profile.yaml"))]
    assert len(folders) > 10
    for folder in folders:
        minutes = sum(layers.notebooks(folder, ROOT).values())
        shared = layers.read(folder / "profile.yaml")
        rounded = 30 if "hours" in shared.first_line else 0
        assert params.header_of(shared).minutes == pytest.approx(minutes, abs=rounded), folder
        said = {
            (path, name)
            for path in folder.glob("*.yaml")
            for name in set(layers.read(path).values) - {"minutes", "extends", "profile"}
        }
        for path in params.profile_files(folder, ROOT):
            said -= _of_use(path)
        assert not said, f"changes nothing: {sorted(said)}"


def _of_use(path) -> set[tuple[Path, str]]:
    """The lines without which this notebook would have another value: (file, parameter)."""
    file, stack, known = params.load(path), layers.of(path, ROOT), params.signature(path.stem)
    found = set()
    for name, where in file.said.items():
        beneath = [one.values[name] for one in stack if one.path != where and name in one.values]
        before = beneath[-1] if beneath else known[name].default
        found |= {(where, name)} if file.values[name] != before else set()
    return found
