"""What is loaded, or fine-tuned further: a model and the adapters merged into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import models


@dataclass(frozen=True)
class Base:
    """What an arm starts from: a model as `models.load` takes it, and adapters merged into it."""

    model: str
    adapters: tuple[Path, ...] = ()

    def fingerprint(self, outputs: Path) -> str:
        return models.fingerprint(self.model, outputs, self.adapters)

    def words(self, outputs: Path) -> str:
        return models.words(self.model, outputs)

    def load(self, outputs: Path, dtype: str, name: str = "", place: bool = True) -> models.LM:
        return models.load(self.model, outputs, dtype, self.adapters, name, place=place)
