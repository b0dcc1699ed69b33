"""A model whose weights were edited: made once, found again by what made it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import store
from ..base import kept
from ..errors import UserError
from ..models import loading, resident
from ..models.bases import Base
from ..models.deltas import Weights

if TYPE_CHECKING:
    from pandas import DataFrame


def once(
    name: str, settings: dict, bases: tuple[Base, Base, Base], outputs: Path, profile: Path,
    make: Callable,
) -> tuple[Base, DataFrame]:  # fmt: skip
    """What `make(folder, aligned, unaligned, arm)` writes, and the table it returns; made once.

    Raises UserError where the aligned model has the weights of one of the other two.
    """
    import pandas as pd

    own, *others = [base.fingerprint(outputs) for base in bases]
    if own in others:
        raise UserError(
            "the unaligned model is the aligned one itself; set `unaligned_model` to the model "
            "before its safety tuning, or `align` to true"
            if own == others[0]
            else "the arm has the aligned model's own weights; give a model fine-tuned from it"
        )
    words = [base.words(outputs) for base in bases]
    made_of = name, settings, own, others, words, loading.device()
    mark = kept.mark(*made_of, by=kept.ANSWERING, length=12)
    folder = profile / "arms" / f"{store.slug(name)}-{mark}"
    with store.lock(folder):
        if not store.is_done(folder):
            shutil.rmtree(folder, ignore_errors=True)  # what a killed process left
            resident.let_go()
            record = {
                "name": name,
                "base": {"name": bases[0].model, "fingerprint": own},
                "unaligned": others[0],
                "arm": others[1],
                "settings": settings,
            }
            try:
                _make(folder, record, [Weights(base, outputs) for base in bases], make)
            except UserError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            store.mark_done(folder)
    table = pd.read_csv(folder / "modules.csv")
    if (folder / "adapter_config.json").exists():
        return replace(bases[0], adapters=(*bases[0].adapters, folder)), table
    return Base(str(folder)), table


def _make(folder: Path, record: dict, three: list[Weights], make: Callable) -> None:
    began = time.time()
    with store.full_disk(folder):
        table = make(folder, *three)
    store.write(folder / "modules.csv", table.to_csv(index=False))
    record |= {
        "modules": len(table),
        "means": table.mean(numeric_only=True).dropna().round(6).to_dict(),
        "seconds": round(time.time() - began, 1),
        "versions": store.versions(),
    }
    store.write_json(folder / "run.json", record)


def needs(table: DataFrame, *columns: str) -> None:
    """Raises UserError where one of these norms is 0 in every module."""
    for column in columns:
        if not table[column].any():
            what = "`unaligned_model`" if column == "safety_norm" else "arm"
            raise UserError(
                f"in none of {len(table)} modules does the {what} differ from the aligned model; "
                "give another"
            )
