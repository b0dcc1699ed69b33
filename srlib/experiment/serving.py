"""Which of a run's models answer through a server, and whether it has them.

With the parameter `backend: server` training stays here, and what is trained answers through an
OpenAI-compatible server at `address`. Who goes by which name there is in `served_as` (a name may be
followed by " @ address", for a server of its own); by default an arm goes by its folder's name,
which says what made it, and the model by its own id.

    require(values, {"aligned base": Base("embedded", (A,))}, outputs, profile)["aligned base"]
    ->   a served.Served
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError, meant
from ..generation import server
from ..generation.served import Served
from ..mitigations import prompted
from ..models import export
from ..models.bases import Base
from ..training import preferences
from . import arms

WEIGHTS = ("safe_lora", "resta", "irr")  # notebook 05's methods that edit weights


def asked(values: dict) -> bool:
    """Return whether completions are to come from a server."""
    return values.get("backend") == "server"


def trains(values: dict) -> bool:
    """Return whether the model's weights are needed here, to train or name something of it."""
    return bool(values["align"] or arms.of(values) or values.get("more_arms"))


def preflight(values: dict, outputs: Path) -> None:
    """Check what can be checked of a server before anything is trained: the parameters, that it
    answers, that it has the model itself, that it can go on from a begun reply. Raises UserError.
    """
    if values["backend"] not in ("local", "server"):
        raise UserError(f"backend is {values['backend']!r}; use local or server")
    if not asked(values):
        return
    tuned_arms = arms.of(values)
    known = ["aligned base", values["model"], *(a.name for a in tuned_arms)]
    known += [preferences.name(tuned_arms[0].name, method) for method in preferences.of(values)]
    known += values.get("more_arms", {})
    if stray := [name for name in values["served_as"] if name not in known]:
        hint = meant(stray[0], known) or f"; it may name {', '.join(known)}"
        raise UserError(f"served_as names {stray[0]!r}, which is no model of this run{hint}")
    if edits := [name for name in WEIGHTS if values.get(name)]:
        raise UserError(
            f"{', '.join(edits)} edit weights, which are then loaded here: with backend server set "
            f"{'them' if edits[1:] else 'it'} to [], or run them with backend local"
        )
    usual = export.name(Base(values["model"]), outputs)
    places = [_at(values, name, usual) for name in known]
    for place in {p.address: p for p in places}.values():
        server.cards(place)
    if as_it_comes(values):
        require(values, {values["model"]: Base(values["model"])}, outputs, outputs)
    begun = [name for name in values.get("mitigations", []) if name in prompted.DECODING]
    lacks = [p.address for p in places if begun and not server.completes(p)]
    if lacks:
        raise UserError(
            f"{lacks[0]} has no /completions, without which no reply can be begun: take "
            f"{', '.join(begun)} out of `mitigations`, or use a server that has it (vLLM, SGLang, "
            "llama.cpp)"
        )


def as_it_comes(values: dict) -> bool:
    """Return whether a notebook asks the model before its safety tuning, too: 00 and 04 do."""
    few = not {"layout", "n_train"} & set(values)
    return not values["align"] or few or "judges" in values


def _at(values: dict, name: str, usual: str) -> server.Server:
    """Return the server of a model, with the model's name there."""
    if not values["address"]:
        raise UserError("backend is server, but address is empty; name one that ends in /v1")
    model, own, address = values["served_as"].get(name, usual).partition(" @ ")
    place = address.strip() if own else values["address"]
    limits = values["concurrency"], values["timeout"], values["retries"]
    return server.Server(place, model.strip(), *limits)


def require(
    values: dict, wanted: dict[str, Base], outputs: Path, profile: Path
) -> dict[str, Served]:
    """Return the models, by name, as their servers know them.

    Raises UserError where one is lacking, which names all that are and how to serve them, and where
    a folder that a server names can be looked at and holds other weights.
    """
    listed, served, lacking = {}, {}, {}
    for name, base in wanted.items():
        where = _at(values, name, export.name(base, outputs))
        if where.address not in listed:
            listed[where.address] = server.cards(where)
        cards = listed[where.address]
        said = (cards or {}).get(where.model)
        if said is None and cards is not None and not server.by_folder(where):
            lacking[name] = where
            continue
        said = said or {"id": where.model}
        folder = Path(said.get("root") or said["id"])
        if export.others(folder, base, outputs, profile):
            raise UserError(
                f"{where.address} serves {folder} as {where.model!r}, which holds other weights "
                f"than {name} has now; serve {export.servable(base, outputs, profile)}"
            )
        own = base.adapters or base.model != values["model"]
        mark = base.fingerprint(outputs) if own else export.seen(folder)
        served[name] = Served(name, where, said, mark, values["model"], outputs)
    if lacking:
        raise _lacking(lacking, listed, wanted, outputs, profile)
    return served


def _lacking(lacking, listed, wanted, outputs, profile) -> UserError:
    first = next(iter(lacking.values()))
    names = ", ".join(f"{where.model!r} (for {name})" for name, where in lacking.items())
    has = server.some(listed[first.address] or ())
    return UserError(
        f"{first.address} does not serve {names}; it serves: {has}. Nothing is lost: start it so, "
        f"and run again: {export.command(wanted, outputs, profile)} (or say in served_as which of "
        "its names they are; for a server without adapters see `python -m srlib export --help`)"
    )
