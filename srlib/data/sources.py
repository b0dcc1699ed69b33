"""Where published records come from: a local mirror, or the hub.

A file of your own is read by `srlib.base.tables`, the package's own ones by `srlib.base.resources`.

A published set is looked for in the folder that the environment variable SRLIB_DATA_DIR names, as
`<org>__<name>/<split>.jsonl`, and then on the Hugging Face hub, at a pinned revision or, where none
is pinned, at the newest one, which is noted in `revisions` and so in a run's run.json.

    records("openai/gsm8k", "test", config="main")   ->   [{"question": "…", "answer": "…"}, …]
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from ..base.tables import read as read_file
from ..errors import UserError
from ..params import root
from ..store import read_json

MIRROR = "SRLIB_DATA_DIR"
MANIFEST, MODELS = "manifest.json", "models"  # in the mirror, see srlib.experiment.mirror
revisions: dict[str, str] = {}  # what this process read: hub name -> revision, or "mirror"


def mirror() -> Path | None:
    """The local mirror's folder, None where SRLIB_DATA_DIR is not set. A relative one is meant
    from the working folder or else from the project's root. UserError where it is no folder."""
    if not (named := os.environ.get(MIRROR)):
        return None
    for folder in (Path(named).expanduser(), root() / named):
        if folder.is_dir():
            return folder
    raise UserError(f"{MIRROR} names {named}, which is not a folder; correct or unset it")


def carried(place: str) -> dict:
    """What the local mirror's manifest says of one of its files; {} where there is none."""
    folder = mirror()
    return read_json(folder / MANIFEST).get("files", {}).get(place, {}) if folder else {}


def carried_model(hub: str) -> tuple[Path, str] | None:
    """A model's folder in the local mirror and its commit on the hub, None where it has none."""
    folder = mirror()
    place = f"{MODELS}/{hub.replace('/', '__')}"
    told = carried(f"{place}/config.json")
    return (folder / place, told["revision"]) if folder and told else None


def records(
    hub: str,
    split: str,
    config: str | None = None,
    revision: str | None = None,
    file: str | None = None,
    instead: str = "",
) -> tuple[list[dict], str]:
    """The records of a published set and where they came from. `file` names the one file meant
    where the repository holds several; `instead` ends the error that is raised without a network.
    """
    folder = mirror()
    path = folder / hub.replace("/", "__") / f"{split}.jsonl" if folder else None
    if path and path.exists():
        revisions[hub] = "mirror"
        return read_file(path), str(path)
    return _hub(hub, split, config, revision, file, instead), f"huggingface.co/datasets/{hub}"


@cache
def _hub(hub, split, config, revision, file, instead) -> list[dict]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError

    place = f"<org>__<name>/{split}.jsonl in a folder named by {MIRROR}"
    try:
        revision = revision or HfApi().dataset_info(hub, timeout=20).sha
        found = load_dataset(hub, config, split=split, revision=revision, data_files=file)
        revisions[hub] = str(revision)
        return list(found)
    except (DatasetNotFoundError, GatedRepoError) as error:
        gated = "gated" in str(error) or isinstance(error, GatedRepoError)
        todo = "ask for access there and run `hf auth login`" if gated else f"mirror it as {place}"
        raise UserError(
            f"data set {hub!r} could not be had from huggingface.co/datasets/{hub}"
            f"{' (it is gated)' if gated else ''}: {todo}"
        ) from error
    except Exception as error:  # no network shows as many types, from several libraries
        raise UserError(
            f"data set {hub!r} is not mirrored and the hub cannot be reached "
            f"({type(error).__name__}); put it as {place}{instead}"
        ) from error
