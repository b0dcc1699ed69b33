"""Hyper-parameters of a supervised fine-tuning, and the seeds of the trainings."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..errors import UserError

LORA = ("lora_r", "lora_alpha", "lora_targets", "lora_layers")


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of one fine-tuning. Lengths in tokens, `rate` is the peak learning rate.

    `method` is `lora` or `full`. `lora_targets` are names of linear layers, ["all-linear"] means
    all; `lora_layers` is the share of layers that get an adapter, counted from the top: nothing is
    propagated back below them. `batch_size` rows make a step, `micro_batch` of them at a time (0:
    all). Rows longer than `max_length` are an `error` or are dropped (`drop`) and counted, never
    cut: a long thought without its answer teaches never to answer. With `packing` a row of the
    batch is a pack of rows, `max_length` tokens at most.
    """

    method: str = "lora"
    epochs: float = 2.0
    rate: float = 1e-3
    batch_size: int = 8
    micro_batch: int = 0
    schedule: str = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.0
    lora_r: int = 16
    lora_alpha: int = 32
    lora_targets: tuple[str, ...] = ("all-linear",)
    lora_layers: float = 1.0
    max_length: int = 1024
    over_length: str = "error"
    packing: bool = False
    seed: int = 0
    checkpoint_minutes: float = 5.0  # how often a checkpoint is kept; changes no result

    def __post_init__(self):
        for name, allowed in (("method", ("lora", "full")), ("over_length", ("error", "drop"))):
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"{name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}"
                )
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise UserError(
                f"batch_size {self.batch_size} is no multiple of micro_batch {self.micro_batch}; "
                "change one of the two"
            )
        if not 0 < self.lora_layers <= 1:
            raise UserError(
                f"lora_layers is {self.lora_layers}; give a share of the layers, above 0, up to 1"
            )

    def settings(self) -> dict:
        """The fields that change a result: not how often a checkpoint is kept, nor an adapter's
        where there is none."""
        idle = ("checkpoint_minutes", *(LORA if self.method == "full" else ()))
        return {k: v for k, v in asdict(self).items() if k not in idle}

    def split(self, processes: int) -> tuple[int, int]:
        """Rows at a time, and how many times, for each of some processes that share a batch."""
        share, rest = divmod(self.batch_size, processes)
        micro = min(self.micro_batch or share, share)
        if rest or share % micro:
            raise UserError(
                f"batch_size {self.batch_size} is no multiple of {processes} processes × "
                f"micro_batch {micro or 1}; change one of them"
            )
        return micro, share // micro


def seeds(values: dict) -> list[int]:
    """Give the trainings' seeds; of a notebook that trains no arm, the aligned base's.

    Raises UserError for an empty list.
    """
    if not values.get("train_seeds", [0]):
        raise UserError("train_seeds is empty; name at least one seed")
    return list(dict.fromkeys(values.get("train_seeds", [values["seed"]])))
