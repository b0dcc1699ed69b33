"""What is loaded, or fine-tuned further: a model and the adapters merged into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import loading


@dataclass(frozen=True)
class Base:
    """What an arm starts from: a model as `loading.load` takes it, and adapters merged into it."""

    model: str
    adapters: tuple[Path, ...] = ()

    def fingerprint(self, outputs: Path) -> str:
        return loading.fingerprint(self.model, outputs, self.adapters)

    def words(self, outputs: Path) -> str:
        return loading.words(self.model, outputs)

    def load(self, outputs: Path, dtype: str, name: str = "", place: bool = True) -> loading.LM:
        return loading.load(self.model, outputs, dtype, self.adapters, name, place=place)
