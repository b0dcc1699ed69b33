"""Published data sets and models in a folder, to be carried to a machine without a network.

    write(wanted(values…), folder)     what parameter files name, as <org>__<name>/<split>.jsonl
    verify(folder)                     are all files there, unchanged?

The folder is what SRLIB_DATA_DIR names on the other machine; models lie under models/<org>__<name>/
and are found there, too. `manifest.json` has an entry a file:

    "openai__gsm8k/test.jsonl": {"hub": "openai/gsm8k", "kind": "data", "revision": "e53f04…",
     "licence": "mit", "rows": 1319, "bytes": 749738, "sha256": "…"}
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from .. import params, store
from ..data import evalsets, sources, trainsets
from ..errors import UserError
from ..grading import judges
from ..models import loading

SETS = ("reasoning_data", "harmful_data", "benign_data", "long_set", "direct_data")
SETS += ("reflective_data", "short_sets", "long_sets", "growth_sets", "grpo_data")
WEIGHTS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt"]
UNKNOWN = "not stated"
WEIGHTS += ["LICENSE*", "NOTICE*", "USE_POLICY*"]


@dataclass(frozen=True)
class Wanted:
    """One split of a published set, or with no `split` a model."""

    hub: str
    split: str = ""
    config: str | None = None
    revision: str | None = None
    file: str | None = None

    @property
    def place(self) -> str:
        name = self.hub.replace("/", "__")
        return f"{name}/{self.split}.jsonl" if self.split else f"{sources.MODELS}/{name}"


def wanted(values: Iterable[dict], with_models: bool = False) -> list[Wanted]:
    """Return the published sets, and with `with_models` the models, that notebooks with these
    parameters read: nothing embedded, no file of your own."""
    items = []
    for parameters in values:
        named = [parameters.get(name) or [] for name in SETS]
        for name in [n for one in named for n in ([one] if isinstance(one, str) else one)]:
            if name in evalsets.PUBLISHED:
                p = evalsets.PUBLISHED[name]
                items.append(Wanted(p.hub, p.split, p.config, p.revision))
            elif name in trainsets.SETS:
                s = trainsets.SETS[name]
                items.append(Wanted(s.hub, "train", s.config, s.revision, s.file))
        items += map(Wanted, _models(parameters) if with_models else [])
    return list(dict.fromkeys(items))


def _models(values: dict) -> list[str]:
    """Return the hub ids of a notebook's models, judges that are loaded here among them."""
    named = [values.get(name, "") for name in ("model", "unaligned_model")]
    for name, setting in values.get("judges", {}).items():
        model, address = judges.parsed(name, setting, values["judge_address"])
        named += [] if address else [model]
    return [m for m in named if m.count("/") == 1 and not params.place(m).is_dir()]


def write(asked: list[Wanted], folder: Path) -> tuple[dict[str, dict], dict[str, str]]:
    """Fetch what is asked for into the folder; what is there and unchanged is kept.

    Returns the manifest's entries, and hub name -> why for what could not be had: one gated set
    does not keep the others from being fetched.
    """
    store.writable(folder)
    entries, missing = store.read_json(folder / sources.MANIFEST).get("files", {}), {}
    for one in asked:
        mine = {k: v for k, v in entries.items() if k == one.place or k.startswith(one.place + "/")}
        if mine and all(fault(folder / k, v) is None for k, v in mine.items()):
            continue
        try:
            new_entries = _rows(one, folder) if one.split else _model(one, folder)
        except UserError as error:
            missing[one.hub] = str(error)
            continue
        entries = {k: v for k, v in entries.items() if k not in mine} | new_entries
        store.write_json(folder / sources.MANIFEST, {"files": entries})
    return entries, missing


def _rows(one: Wanted, folder: Path) -> dict[str, dict]:
    records, _ = sources.records(one.hub, one.split, one.config, one.revision, one.file)
    lines = [json.dumps(r, ensure_ascii=False, default=str) + "\n" for r in records]
    store.write(folder / one.place, "".join(lines))
    revision = sources.revisions[one.hub]
    if revision == "mirror":  # another one: what that knows
        entry = sources.carried(f"{one.hub.replace('/', '__')}/{one.split}.jsonl")
        about = {k: entry.get(k, UNKNOWN) for k in ("revision", "licence")}
    else:
        about = {"revision": revision, "licence": _licence("dataset", one.hub)}
    return {one.place: _entry(folder / one.place, one, about) | {"rows": len(records)}}


def _model(one: Wanted, folder: Path) -> dict[str, dict]:
    """Fetch a model's files, from the hub or its cache; weights as safetensors only."""
    from huggingface_hub import snapshot_download

    commit = loading.commit_of(one.hub)
    try:
        snapshot = Path(snapshot_download(one.hub, revision=commit, allow_patterns=WEIGHTS))
    except Exception as error:  # no network shows as many types, from several libraries
        raise UserError(
            f"model {one.hub!r} could not be fetched from huggingface.co/{one.hub} "
            f"({type(error).__name__}): type the command again to go on"
        ) from error
    files = [f for f in sorted(snapshot.rglob("*")) if any(fnmatch(f.name, w) for w in WEIGHTS)]
    if not any(f.suffix == ".safetensors" for f in files):
        raise UserError(f"model {one.hub!r} has no *.safetensors, and nothing else is loaded here")
    shutil.rmtree(folder / one.place, ignore_errors=True)
    about, entries = {"revision": commit, "licence": _licence("model", one.hub)}, {}
    for file in files:
        place = f"{one.place}/{file.relative_to(snapshot).as_posix()}"
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        with store.full_disk(folder / place):
            shutil.copyfile(file, folder / place)  # what a cache's links point to
        entries[place] = _entry(folder / place, one, about)
    return entries


def _licence(kind: str, hub: str) -> str:
    """Return the licence on the page's card; "not stated" where it has none, or cannot be asked."""
    from huggingface_hub import HfApi

    try:
        ask = HfApi().dataset_info if kind == "dataset" else HfApi().model_info
        licence = (ask(hub, timeout=20).card_data or {}).get("license")
    except Exception:  # the rows are here: a page that cannot be asked is no reason to lose them
        licence = None
    return ", ".join(licence) if isinstance(licence, list) else str(licence or UNKNOWN)


def _entry(path: Path, one: Wanted, about: dict) -> dict:
    entry = {"hub": one.hub, "kind": "data" if one.split else "model", **about}
    return entry | {"bytes": path.stat().st_size, "sha256": store.file_digest(path, 64)}


def fault(path: Path, entry: dict) -> str | None:
    """Return what is wrong with a file of the manifest: None, "missing" or "changed"."""
    if not path.is_file():
        return "missing"
    same = path.stat().st_size == entry["bytes"]
    return None if same and store.file_digest(path, 64) == entry["sha256"] else "changed"


def verify(folder: Path) -> dict[str, dict]:
    """Return the manifest's entries. Raises UserError where it or a file is missing, or changed."""
    entries = store.read_json(folder / sources.MANIFEST).get("files")
    if not entries:
        raise UserError(
            f"{folder} has no {sources.MANIFEST}: fill it with `python -m srlib mirror PROFILE`"
        )
    faults = {
        place: why for place, entry in entries.items() if (why := fault(folder / place, entry))
    }
    if faults:
        named = "; ".join(f"{place} is {why}" for place, why in list(faults.items())[:3])
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise UserError(
            f"{len(faults)} of {len(entries)} files in {folder}: {named}{more}: carry them again"
        )
    return entries


def shown(kept: dict[str, dict]) -> str:
    """Return the manifest as text, a line a data file or model, with its licence."""
    lines, done = [], set()
    for place, entry in sorted(kept.items()):
        if entry["kind"] == "model":
            if entry["hub"] in done:
                continue
            done.add(entry["hub"])
            mine = [e for e in kept.values() if e["hub"] == entry["hub"] and e["kind"] == "model"]
            what = f"{sum(e['bytes'] for e in mine) / 1e9:.1f} GB in {len(mine)} files"
        else:
            what = f"{entry['rows']:,} rows, sha256 {entry['sha256'][:12]}…"
        name = entry["hub"] if entry["kind"] == "model" else place
        lines.append(
            f"{name}: {what}; revision {entry['revision'][:12]}; licence {entry['licence']}"
        )
    return "\n".join(lines)
