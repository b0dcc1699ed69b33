"""Several LoRA adapters of one model as one, and an adapter written as PEFT reads it."""

from __future__ import annotations

from pathlib import Path

from .deltas import Weights


def save_adapter(weights: Weights, name: str, folder: Path) -> None:
    """Save one of the adapters of `weights`, by PEFT's name for it, or `join`'s, as a folder."""
    weights.net.save_pretrained(folder, selected_adapters=[name], save_embedding_layers=False)
    for file in list((folder / name).iterdir()):  # PEFT puts a name's adapter into a subfolder
        file.rename(folder / file.name)
    (folder / name).rmdir()


def join(weights: Weights, parts: dict[str, float]) -> str:
    """Join several adapters' weighted sum into one adapter, exactly: their factors side by side.

    `parts`: name -> weight. Returns the name of the new adapter."""
    for name in parts:  # PEFT takes these settings of the first adapter for all
        config = weights.net.peft_config[name]
        mine = [n for n, layer in weights.layers.items() if name in layer.lora_A]
        config.target_modules = {n.removesuffix(".weight") for n in mine}
        config.layers_to_transform, config.use_rslora = None, False
    weights.net.base_model.add_weighted_adapter(
        list(parts), list(parts.values()), "joined", combination_type="cat"
    )
    return "joined"
