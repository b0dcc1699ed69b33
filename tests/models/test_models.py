"""Models: found or a clear error, before anything is loaded; merged adapters; fingerprints."""

import pytest

from srlib.errors import UserError
from srlib.models import loading


@pytest.mark.parametrize("name", ["embeded", "./nowhere", "/no/such/folder", "a/b/c", ""])
def test_what_is_neither_embedded_nor_a_folder_nor_a_hub_id(tmp_path, name):
    with pytest.raises(UserError, match="neither `embedded`, nor a folder"):
        loading.resolve(name or "no-model", tmp_path)


def test_a_folder_without_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="safetensors"):
        loading.resolve(str(tmp_path), tmp_path)


def test_a_hub_that_cannot_be_reached(tmp_path, monkeypatch):
    from huggingface_hub import HfApi

    def down(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(HfApi, "model_info", down)
    with pytest.raises(UserError, match="nor can the hub be reached"):
        loading.resolve("some-org/some-model", tmp_path)


def test_a_gated_model_names_its_page_and_the_login(tmp_path, monkeypatch):
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError

    def gated(*_, **__):
        request = httpx.Request("GET", "https://huggingface.co")
        raise GatedRepoError("gated", response=httpx.Response(403, request=request))

    monkeypatch.setattr(HfApi, "model_info", gated)
    with pytest.raises(UserError, match=r"huggingface\.co/some-org/some-model.*hf auth login"):
        loading.resolve("some-org/some-model", tmp_path)


def test_the_embedded_model_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match="make setup"):
        loading.resolve("embedded", tmp_path)


def test_where_the_embedded_model_is_unpacked(monkeypatch, tmp_path):
    monkeypatch.setenv("SRLIB_CACHE_DIR", str(tmp_path / "mine"))
    assert loading.resolve("embedded", tmp_path)[0].startswith(str(tmp_path / "mine"))
    (tmp_path / "file").touch()  # no folder can be made in a file
    monkeypatch.setenv("SRLIB_CACHE_DIR", str(tmp_path / "file/cache"))
    assert loading.resolve("embedded", tmp_path)[0].startswith(str(tmp_path / "models"))


def test_an_unknown_dtype():
    with pytest.raises(UserError, match="bfloat16"):
        loading.pick_dtype("bf16")


def test_the_embedded_model_is_a_folder_any_tool_can_load(lm, outputs):
    folder, mark = loading.resolve("embedded", outputs)
    again = loading.load(folder, outputs, "float32")
    assert lm.fingerprint == mark and again.fingerprint != mark  # the folder is named by its files
    for a, b in zip(lm.model.parameters(), again.model.parameters(), strict=True):
        assert a.equal(b)
    assert sum(p.numel() for p in lm.model.parameters()) == 134_515_008


def test_an_adapter_is_merged_and_changes_the_fingerprint(lm, outputs, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)  # lora_A is drawn at random; an unlucky draw changes next to nothing
    fresh = loading.load("embedded", outputs, "float32")
    tuned = get_peft_model(fresh.model, LoraConfig(r=2, target_modules=["q_proj"]))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(weight, 0.1)
    tuned.save_pretrained(tmp_path)
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.inference_mode():
        wanted, before = tuned(ids).logits, lm.model(ids).logits
    merged = loading.load("embedded", outputs, "float32", adapters=(tmp_path,))
    with torch.inference_mode():
        found = merged.model(ids).logits
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)
    assert (found - before).abs().max() > 0.1
    assert merged.fingerprint != lm.fingerprint


def test_an_adapter_folder_without_an_adapter(outputs, tmp_path):
    with pytest.raises(UserError, match=r"adapter_model\.safetensors"):
        loading.load("embedded", outputs, "float32", adapters=(tmp_path,))
