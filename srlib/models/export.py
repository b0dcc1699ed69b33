"""What a server needs to answer as a fine-tuned arm: one LoRA adapter, or one folder of weights.

A server puts one adapter on its model at a time, but an arm of the aligned base is two: the safety
tuning's and its own. Their factors side by side are one adapter with the same product, of both
ranks together; that, or with all adapters merged a folder that any server loads, is written once:

    outputs/<profile>/served/<arm's folder>/             one adapter, for vLLM's --lora-modules
    outputs/<profile>/served/<arm's folder>--merged/     a whole model

    adapter(Base("embedded", (A, B)), outputs, profile)      # the first
    merged(Base("embedded", (A, B)), outputs, profile)       # the second
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

from .. import params, store
from ..base import kept
from ..errors import UserError
from . import loading
from .bases import Base

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM takes as --max-lora-rank


def name(base: Base, outputs: Path) -> str:
    """Return the name that a server knows a model by, if nothing else is said."""
    if base.adapters:
        return base.adapters[-1].name
    source = _source(base.model, outputs)
    return Path(source).name if _is_arm(source) else source


def adapter(base: Base, outputs: Path, profile: Path) -> Path | None:
    """Return the one LoRA adapter that turns `base.model` into the base; None where there is none.

    Raises UserError for adapters that are more than LoRA on linear layers.
    """
    from .adapters import join, save_adapter
    from .deltas import Weights, named

    if len(base.adapters) < 2:
        return base.adapters[0] if base.adapters else None

    def write(folder: Path) -> None:
        both = Weights(base, outputs)
        parts = {named(i): 1.0 for i in range(len(base.adapters))}
        save_adapter(both, join(both, parts), folder)

    return _once(profile / "served" / base.adapters[-1].name, base, outputs, write)


def merged(base: Base, outputs: Path, profile: Path, dtype: str = "auto") -> Path:
    """Return a folder with the whole model, its adapters merged, its tokenizer, and no settings of
    generation but where a turn ends: servers would take others from there as their defaults."""

    def write(folder: Path) -> None:
        from transformers import GenerationConfig

        lm = base.load(outputs, dtype)
        settings = lm.model.generation_config
        ends = {n: getattr(settings, n) for n in ("bos_token_id", "eos_token_id", "pad_token_id")}
        lm.model.generation_config = GenerationConfig(**ends)
        with loading.quiet():
            lm.model.save_pretrained(folder)
        lm.tokenizer.save_pretrained(folder)

    label = store.slug(f"{Path(name(base, outputs)).name}--merged")
    return _once(profile / "served" / label, base, outputs, write, loading.pick_dtype(dtype))


def _once(folder: Path, base: Base, outputs: Path, write, dtype: str = "") -> Path:
    mark = base.fingerprint(outputs)
    made_by = kept.mark(mark, base.words(outputs), dtype, by=kept.ANSWERING)
    with store.lock(folder), store.full_disk(folder):
        if (
            not store.is_done(folder)
            or store.read_json(folder / "run.json").get("made_by") != made_by
        ):
            shutil.rmtree(folder, ignore_errors=True)
            write(folder)
            record = {"fingerprint": mark, "made_by": made_by, "versions": store.versions()}
            store.write_json(folder / "run.json", record)
            store.mark_done(folder)
    return folder.resolve()


def fingerprint(folder: Path) -> str:
    """Return the weights' fingerprint of what was written here for a server; else ""."""
    return store.read_json(folder / "run.json").get("fingerprint", "")


def servable(base: Base, outputs: Path, profile: Path) -> Path | str:
    """Return what to give a server: an adapter's folder, else the model's folder or hub id."""
    return adapter(base, outputs, profile) or _source(base.model, outputs)


def _source(model: str, outputs: Path) -> str:
    if model == loading.EMBEDDED:
        return str(Path(loading.resolve(model, outputs)[0]).resolve())
    folder = params.place(model)
    return str(folder.resolve()) if folder.is_dir() else model


def seen(folder: Path) -> str:
    """Return the digest of the weights in a model's folder; "" where it cannot be read here."""
    whole = (folder / "config.json").exists() and any(folder.glob("*.safetensors"))
    return loading.resolve(str(folder), folder)[1] if whole else ""


def others(folder: Path, base: Base, outputs: Path, profile: Path) -> bool:
    """Return whether a folder that a server names holds other weights than the base has; False,
    too, where that cannot be told from here."""
    if not base.adapters and str(folder) == _source(base.model, outputs):
        return False
    if exported := fingerprint(folder):
        return exported != base.fingerprint(outputs)
    theirs = folder / "adapter_model.safetensors"
    if theirs.exists():
        mine = adapter(base, outputs, profile)
        ours = mine and store.file_digest(mine / "adapter_model.safetensors")
        return ours != store.file_digest(theirs)
    return bool(base.adapters and seen(folder))  # a plain model in the place of an arm


def command(wanted: dict[str, Base], outputs: Path, profile: Path) -> str:
    """Return the command lines that serve the models through vLLM: one with all adapters, and one
    for each that is a whole model of its own."""
    lines: dict[str, dict[str, Path]] = {}
    for base in wanted.values():
        adapters = lines.setdefault(_source(base.model, outputs), {})
        if folder := adapter(base, outputs, profile):
            adapters[name(base, outputs)] = folder.resolve()
    return "; ".join(_line(source, adapters) for source, adapters in lines.items())


def _line(source: str, adapters: dict[str, Path]) -> str:
    words = ["vllm", "serve", source, "--generation-config", "vllm"]
    if _is_arm(source):
        words += ["--served-model-name", Path(source).name]
    if adapters:
        configs = [store.read_json(f / "adapter_config.json") for f in adapters.values()]
        most = max(config.get("r", 0) for config in configs)
        rank = next((r for r in RANKS if r >= most), RANKS[-1])
        words += ["--enable-lora", "--max-lora-rank", str(rank), "--lora-modules"]
        words += [f"{called}={folder}" for called, folder in adapters.items()]
    return shlex.join(words)


def _is_arm(source: str) -> bool:
    """Return whether a model is an arm that was fine-tuned in full, or what was made of one."""
    return "base" in store.read_json(Path(source) / "run.json")


def of(arm: Path) -> Base:
    """Return what the folder of an arm is made of: the model, and the adapters from there to it.

    The arm's record names the weights that it was trained on; those without a folder of their own
    are looked for among the arms beside it. Raises UserError where they are not there.
    """
    arm = arm.resolve()
    base_record = store.read_json(arm / "run.json").get("base")
    if not base_record or not store.is_done(arm):
        raise UserError(f"{arm} is no folder of a finished arm; they lie in outputs/<profile>/arms")
    if not (arm / "adapter_config.json").exists():
        return Base(str(arm))
    plain = Base(base_record["name"])
    if plain.fingerprint(arm.parents[2]) == base_record["fingerprint"]:
        return replace(plain, adapters=(arm,))
    for other in sorted(arm.parent.glob("*/run.json")):
        before = store.read_json(other).get("base", {}).get("fingerprint")
        if other.parent == arm or not (other.parent / "adapter_model.safetensors").exists():
            continue
        if loading.merged_mark(before, other.parent) == base_record["fingerprint"]:
            parent = of(other.parent)
            return replace(parent, adapters=(*parent.adapters, arm))
    raise UserError(f"what {arm.name} was trained on is not beside it any more; make the arm again")


def write(arm: Path, lora: bool = False) -> tuple[str, Path]:
    """Write an arm for a server as one folder of weights, or with `lora` as one adapter: return the
    name that `served_as` knows it by, and where it is."""
    base, profile = of(arm), arm.resolve().parents[1]
    record = store.read_json(arm / "run.json")
    called = "aligned base" if record["name"] == "aligned" else record["name"]
    arguments = (base, profile.parent, profile)
    if lora:
        folder = adapter(*arguments)
        if folder is None:
            raise UserError(f"{arm.name} is a whole model, no adapter; leave out --lora")
        return called, folder
    if not base.adapters:
        return called, Path(base.model)
    return called, merged(*arguments, record["base"].get("dtype", "auto"))
