"""What the package itself carries: its YAML and JSONL files, read once.

asset("claims.yaml")            ->   what the file holds
embedded("refusals.jsonl")      ->   [{"text": "I can't help with that.", …}, …]
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import yaml


@cache
def asset(file: str):
    """Return what one of the package's own YAML files holds; do not change what you get."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(files("srlib").joinpath(f"assets/{file}").read_text("utf-8"), Loader=loader)


@cache
def embedded(file: str) -> list[dict]:
    """Return the records of one of the package's own JSONL files, in order; do not change them."""
    text = files("srlib").joinpath(f"assets/{file}").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]
