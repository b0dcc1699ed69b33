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
    """What notebooks with these parameters read that is not embedded and no file of your own."""
    found = []
    for told in values:
        named = [told.get(name) or [] for name in SETS]
        for name in [n for one in named for n in ([one] if isinstance(one, str) else one)]:
            if name in evalsets.PUBLISHED:
                p = evalsets.PUBLISHED[name]
                found.append(Wanted(p.hub, p.split, p.config, p.revision))
            elif name in trainsets.SETS:
                s = trainsets.SETS[name]
                found.append(Wanted(s.hub, "train", s.config, s.revision, s.file))
        found += map(Wanted, _models(told) if with_models else [])
    return list(dict.fromkeys(found))


def _models(values: dict) -> list[str]:
    """The hub ids of a notebook's models, judges that are loaded here among them."""
    named = [values.get(name, "") for name in ("model", "unaligned_model")]
    for name, told in values.get("judges", {}).items():
        model, address = judges.parsed(name, told, values["judge_address"])
        named += [] if address else [model]
    return [m for m in named if m.count("/") == 1 and not params.place(m).is_dir()]


def write(asked: list[Wanted], folder: Path) -> tuple[dict[str, dict], dict[str, str]]:
    """Fetch what is asked for into the folder; what is there and unchanged is kept.

    Returns the manifest's entries, and hub name -> why for what could not be had: one gated set
    does not keep the others from being fetched.
    """
    store.writable(folder)
    kept, missing = store.read_json(folder / sources.MANIFEST).get("files", {}), {}
    for one in asked:
        mine = {k: v for k, v in kept.items() if k == one.place or k.startswith(one.place + "/")}
        if mine and all(fault(folder / k, v) is None for k, v in mine.items()):
            continue
        try:
            made = _rows(one, folder) if one.split else _model(one, folder)
        except UserError as error:
            missing[one.hub] = str(error)
            continue
        kept = {k: v for k, v in kept.items() if k not in mine} | made
        store.write_json(folder / sources.MANIFEST, {"files": kept})
    return kept, missing


def _rows(one: Wanted, folder: Path) -> dict[str, dict]:
    records, _ = sources.records(one.hub, one.split, one.config, one.revision, one.file)
    lines = [json.dumps(r, ensure_ascii=False, default=str) + "\n" for r in records]
    store.write(folder / one.place, "".join(lines))
    revision = sources.revisions[one.hub]
    if revision == "mirror":  # another one: what that knows
        told = sources.carried(f"{one.hub.replace('/', '__')}/{one.split}.jsonl")
        about = {k: told.get(k, UNKNOWN) for k in ("revision", "licence")}
    else:
        about = {"revision": revision, "licence": _licence("dataset", one.hub)}
    return {one.place: _entry(folder / one.place, one, about) | {"rows": len(records)}}


def _model(one: Wanted, folder: Path) -> dict[str, dict]:
    """A model's files, from the hub or its cache; weights as safetensors only."""
    from huggingface_hub import snapshot_download

    commit = loading.commit_of(one.hub)
    try:
        there = Path(snapshot_download(one.hub, revision=commit, allow_patterns=WEIGHTS))
    except Exception as error:  # no network shows as many types, from several libraries
        raise UserError(
            f"model {one.hub!r} could not be fetched from huggingface.co/{one.hub} "
            f"({type(error).__name__}): type the command again to go on"
        ) from error
    files = [f for f in sorted(there.rglob("*")) if any(fnmatch(f.name, w) for w in WEIGHTS)]
    if not any(f.suffix == ".safetensors" for f in files):
        raise UserError(f"model {one.hub!r} has no *.safetensors, and nothing else is loaded here")
    shutil.rmtree(folder / one.place, ignore_errors=True)
    about, made = {"revision": commit, "licence": _licence("model", one.hub)}, {}
    for file in files:
        place = f"{one.place}/{file.relative_to(there).as_posix()}"
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        with store.full_disk(folder / place):
            shutil.copyfile(file, folder / place)  # what a cache's links point to
        made[place] = _entry(folder / place, one, about)
    return made


def _licence(kind: str, hub: str) -> str:
    """What the page's card says; "not stated" where it says nothing, or cannot be asked."""
    from huggingface_hub import HfApi

    try:
        ask = HfApi().dataset_info if kind == "dataset" else HfApi().model_info
        told = (ask(hub, timeout=20).card_data or {}).get("license")
    except Exception:  # the rows are here: a page that cannot be asked is no reason to lose them
        told = None
    return ", ".join(told) if isinstance(told, list) else str(told or UNKNOWN)


def _entry(path: Path, one: Wanted, about: dict) -> dict:
    told = {"hub": one.hub, "kind": "data" if one.split else "model", **about}
    return told | {"bytes": path.stat().st_size, "sha256": store.file_digest(path, 64)}


def fault(path: Path, entry: dict) -> str | None:
    """What is wrong with a file of the manifest: None, "missing" or "changed"."""
    if not path.is_file():
        return "missing"
    same = path.stat().st_size == entry["bytes"]
    return None if same and store.file_digest(path, 64) == entry["sha256"] else "changed"


def verify(folder: Path) -> dict[str, dict]:
    """The manifest's entries. Raises UserError where it is missing, or a file is not as it says."""
    kept = store.read_json(folder / sources.MANIFEST).get("files")
    if not kept:
        raise UserError(
            f"{folder} has no {sources.MANIFEST}: fill it with `python -m srlib mirror PROFILE`"
        )
    faults = {place: why for place, told in kept.items() if (why := fault(folder / place, told))}
    if faults:
        named = "; ".join(f"{place} is {why}" for place, why in list(faults.items())[:3])
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise UserError(
            f"{len(faults)} of {len(kept)} files in {folder}: {named}{more}: carry them again"
        )
    return kept


def shown(kept: dict[str, dict]) -> str:
    """The manifest as text, a line a data file or model, with its licence."""
    lines, done = [], set()
    for place, told in sorted(kept.items()):
        if told["kind"] == "model":
            if told["hub"] in done:
                continue
            done.add(told["hub"])
            mine = [e for e in kept.values() if e["hub"] == told["hub"] and e["kind"] == "model"]
            what = f"{sum(e['bytes'] for e in mine) / 1e9:.1f} GB in {len(mine)} files"
        else:
            what = f"{told['rows']:,} rows, sha256 {told['sha256'][:12]}…"
        name = told["hub"] if told["kind"] == "model" else place
        lines.append(f"{name}: {what}; revision {told['revision'][:12]}; licence {told['licence']}")
    return "\n".join(lines)
