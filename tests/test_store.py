"""Records survive kills, full disks and a second process; a run says truly whether it is done."""

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from srlib import store
from srlib.errors import UserError
from srlib.experiment import provenance
from srlib.ops import run

ODD = 'line\u2028separators \u2029, \x85, \x0b, \x1c, \r and \n, a quote " and 漢字'


def start(code, *args, **options):
    """A process of its own that runs `code` with srlib.store imported."""
    pre = "import os, sys, time\nfrom pathlib import Path\nfrom srlib import store\n"
    command = [sys.executable, "-c", pre + code, *map(str, args)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, **options)


def torn(path):
    store.append(path, [{"n": 1}, {"n": 2}])
    with path.open("ab") as handle:
        handle.write(b'{"n": 3, "text": "half a l')
    return path


def test_append_and_read_round_trip(tmp_path):
    path = tmp_path / "x.jsonl"
    assert store.read(path) == [] and not path.exists()
    records = [{"key": str(i), "text": ODD, "value": [i, None, 0.1]} for i in range(3)]
    store.append(path, records[:2])
    store.append(path, [])
    store.append(path, records[2:])
    assert store.read(path) == records
    assert path.read_bytes().count(b"\n") == 3


def test_torn_last_line_is_cut_off_and_appended_to_again(tmp_path):
    path = torn(tmp_path / "x.jsonl")
    assert store.read(path) == [{"n": 1}, {"n": 2}]
    assert path.read_bytes() == b'{"n": 1}\n{"n": 2}\n'
    store.append(path, [{"n": 3}])
    assert [r["n"] for r in store.read(path)] == [1, 2, 3]


def test_file_that_is_one_torn_line_becomes_empty(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes('{"text": "ä'.encode()[:-1])  # torn within a character
    assert store.read(path) == [] and path.read_bytes() == b""


def test_broken_line_in_the_middle_is_named_and_kept(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(before := b'{"n": 1}\n{"n": \n{"n": 3}\n')
    with pytest.raises(UserError, match=r"x\.jsonl, line 2 is not JSON.*delete that line"):
        store.read(path)
    assert path.read_bytes() == before


COUNTING = """
path, n = Path(sys.argv[1]), int(sys.argv[2])
for _ in range(n):
    with store.lock(path):
        seen = store.read(path)
        time.sleep(0.002)
        store.append(path, [{"n": len(seen), "by": os.getpid(), "pad": "x" * 20000}])
"""


def test_two_processes_take_turns_and_lose_nothing(tmp_path):
    path, n = tmp_path / "x.jsonl", 25
    both = [start(COUNTING, path, n) for _ in range(2)]
    assert [p.wait(60) for p in both] == [0, 0]
    records = store.read(path)
    # each counted what the other had written: without the lock, numbers come twice
    assert [r["n"] for r in records] == list(range(2 * n))
    assert {r["by"] for r in records} == {p.pid for p in both}


def test_second_process_says_that_it_waits_and_then_gets_the_lock(tmp_path):
    path = tmp_path / "x.jsonl"
    with store.lock(path):
        code = "with store.lock(Path(sys.argv[1])): print('got it')"
        other = start(code, path, stderr=subprocess.PIPE)
        assert "waiting for another process that is using x.jsonl" in other.stderr.readline()
    out, err = other.communicate(timeout=60)
    assert out.strip() == "got it" and err == ""


APPENDING = """
path = Path(sys.argv[1])
with store.lock(path):
    for n in range(len(store.read(path)), 10**6):
        store.append(path, [{"n": n, "pad": "x" * 100_000}])
        print(n, flush=True)
"""


def test_killed_while_appending_then_resumed(tmp_path):
    path, said = tmp_path / "x.jsonl", -1
    for _ in range(3):
        process = start(APPENDING, path)
        for _ in range(5):
            said = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = [line for line in process.stdout if line.endswith("\n")]
        said = int(rest[-1]) if rest else said
        assert process.wait(60) == -signal.SIGKILL
    with store.lock(path):  # the dead process does not hold it
        records = store.read(path)
        assert [r["n"] for r in records] == list(range(len(records)))
        assert len(records) > said  # whatever was said to be written is there
        assert all(len(r["pad"]) == 100_000 for r in records)
        store.append(path, [{"n": len(records)}])
    assert store.read(path)[-1] == {"n": len(records)}


WRITING = """
for i in range(10**6):
    store.write(Path(sys.argv[1]), "ab"[i % 2] * 2_000_000)
    print(i, flush=True)
"""


def test_write_shows_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "deep" / "x.json"
    process = start(WRITING, path)
    seen = set()
    for _ in range(30):
        process.stdout.readline()
        text = path.read_text()
        seen.add((len(text), *set(text)))
    process.kill()
    process.communicate()
    assert seen <= {(2_000_000, "a"), (2_000_000, "b")}


def test_write_that_fails_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    store.write(path, "old")

    def full(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="disk is full"):
        store.write(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"] and path.read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_append_to_a_full_device_is_readable(tmp_path):
    path = tmp_path / "x.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"disk is full: .*x\.jsonl could not be written; free"):
        store.append(path, [{"n": 1}])


FULL = """
path, other, said = Path(sys.argv[1]) / "x.jsonl", Path(sys.argv[1]) / "y.json", []
store.write(other, "old")
n = 0
try:
    while n < 100:
        store.append(path, [{"n": n, "pad": "x" * 10_000}])
        n += 1
except ValueError as error:
    said.append(str(error))
try:
    store.write(other, "new" * 100_000)
except ValueError as error:
    said.append(str(error))
assert len(said) == 2 and all("the disk is full" in s for s in said), said
assert other.read_text() == "old"
assert sorted(os.listdir(path.parent)) == ["x.jsonl", "y.json"]
assert [r["n"] for r in store.read(path)] == list(range(n)) and n > 3
store.append(path, [{"n": n}])
assert store.read(path)[-1] == {"n": n}
print("kept", n)
"""


def test_real_full_disk_keeps_what_was_there(tmp_path):
    """On a tmpfs of 100 kB in a mount namespace of its own, so that nothing stays mounted."""
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f'mount -t tmpfs -o size=100k tmpfs "{tmp_path}"'
    with suppress(FileNotFoundError):
        if subprocess.run([*inside, mount], capture_output=True).returncode == 0:
            pre = "import os, sys\nfrom pathlib import Path\nfrom srlib import store\n"
            command = [*inside, f'{mount} && exec "$@"', "sh", sys.executable, "-c"]
            done = subprocess.run(
                [*command, pre + FULL, tmp_path], capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0 and done.stdout.startswith("kept"), done.stderr
            return
    pytest.skip("mounting a tmpfs is not allowed here")


def test_other_faults_of_the_disk_are_not_called_full(tmp_path):
    with pytest.raises(IsADirectoryError):
        store.append(tmp_path, [{"n": 1}])


def test_folder_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "outputs"):
        with pytest.raises(UserError, match=r"cannot write to the output folder .*set `outputs`"):
            store.writable(folder)
    assert list(store.writable(tmp_path / "new" / "folder").iterdir()) == []


def test_slug_and_done_marker(tmp_path):
    assert store.slug("few-shot k=4 m=2") == "few-shot_k_4_m_2"
    assert store.slug("../../etc/passwd").count("/") == 0 and store.slug("漢字") == "_"
    assert not store.is_done(tmp_path)
    store.mark_done(tmp_path)
    assert store.is_done(tmp_path)


def test_digest_is_the_same_in_every_process():
    value = {"b": [1, 2.5, None, True], "a": {"ä": "ö", "z": ODD}}
    code = f"print(store.digest({value!r}))"
    found = {store.digest(value), store.digest(dict(reversed(value.items())))}
    for seed in ("0", "1", "77"):
        process = start(code, env=os.environ | {"PYTHONHASHSEED": seed})
        found.add(process.communicate(timeout=60)[0].strip())
    assert len(found) == 1
    assert store.digest(value | {"b": [1, 2.5, None, 1.5]}) not in found


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one notebook, as working folder."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    cells = [{"cell_type": "code", "metadata": {}, "source": ["1 + 1"], "outputs": []}]
    (tmp_path / "notebooks" / "n.ipynb").write_text(json.dumps({"cells": cells}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_OPTIONAL_LOCKS", "0")
    return tmp_path


def test_time_counts_once_where_it_was_spent(project, monkeypatch):
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr(provenance.time, "time", lambda: next(now))  # each look at the clock: 10 s
    run = provenance.Run("n", {"profile": "smoke"}, project / "out")
    with run.spending("training"), run.spending("loading"):
        pass
    with pytest.raises(ValueError), run.spending("training"):
        raise ValueError
    assert run.spent == {"loading": 10, "training": 30}
    run.note()
    record = json.loads((project / "out/smoke/n/run.json").read_text())
    assert record["spent"] == run.spent


def test_run_says_running_until_it_is_finished(project, monkeypatch):
    import pandas as pd

    monkeypatch.setenv("HF_TOKEN", "hf_averysecrettoken")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-averysecretkey")
    values = {"profile": "smoke", "limit": 8}
    run = provenance.Run("n", values, project / "out")
    file = project / "out" / "smoke" / "n" / "run.json"
    first = json.loads(file.read_text())
    assert first["status"] == "running" and first["parameters"] == values
    assert first["made_by"] == provenance.made_by("n", values) and first["versions"]["srlib"]
    run.note(base={"fingerprint": "abc"})
    noted = json.loads(file.read_text())
    assert noted["status"] == "running" and noted["base"] == {"fingerprint": "abc"}
    assert not (file.parent / "metrics.csv").exists()
    run.finish(pd.DataFrame({"arm": ["direct", "few-shot, k=4"], "value": [0.5, None]}))
    done = json.loads(file.read_text())
    assert done["status"] == "done" and done["base"] == noted["base"]
    metrics = b'arm,value\ndirect,0.5\n"few-shot, k=4",\n'
    assert (file.parent / "metrics.csv").read_bytes() == metrics
    assert "averysecret" not in file.read_text()
    assert {p.name for p in file.parent.iterdir()} == {"run.json", "metrics.csv", "asked.json"}
    provenance.Run("n", values, project / "out")  # begun again: no longer done
    assert json.loads(file.read_text())["status"] == "running"


def test_made_by_changes_with_parameters_and_cells_only(project):
    values = {"profile": "smoke", "limit": 8}
    before = provenance.made_by("n", values)
    assert provenance.made_by("n", dict(reversed(values.items()))) == before
    assert provenance.made_by("n", values | {"limit": 9}) != before
    file = project / "notebooks" / "n.ipynb"
    book = json.loads(file.read_text())
    book["cells"][0]["outputs"] = [{"output_type": "stream", "text": "2"}]
    file.write_text(json.dumps(book))
    assert provenance.made_by("n", values) == before
    book["cells"][0]["source"] = ["1 + 2"]
    file.write_text(json.dumps(book))
    assert provenance.made_by("n", values) != before


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_freed_memory_goes_back_to_the_system():
    code = """
from srlib import store
held = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
blocks = [bytearray(b"x" * 2**20) for _ in range(300)]
stop = bytearray(b"x" * 2**20)  # above the freed ones: the heap's end cannot be cut off
del blocks
before = held()
store.give_back()
print(before - held())
"""
    env = os.environ | run.KEEP_MEMORY
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert float(done.stdout) > 200, done.stderr
