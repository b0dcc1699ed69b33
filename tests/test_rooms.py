"""The rooms of the package: which way imports lead, and how small its public face is."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_imports_lead_one_way_and_in_no_circle():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_an_import_against_the_order_is_seen(tmp_path):
    shutil.copytree(ROOT / "srlib", tmp_path / "srlib", ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "srlib/thoughts.py").open("a") as handle:
        handle.write("\n\ndef lazily():\n    from .models import loading\n\n    return loading\n")
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "srlib.thoughts -> srlib.models.loading" in done.stdout


def test_few_files_stand_at_the_top():
    assert len(list((ROOT / "srlib").glob("*.py"))) <= 12
