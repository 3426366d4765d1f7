import pytest
import torch
from tiny_policy import make_model, make_tokenizer

from lib.policy.models import load_policy, load_tokenizer


@pytest.fixture
def folder(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path / "model")
    make_model(tokenizer).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_policy_comes_back_with_the_same_weights_ready_to_generate(folder):
    model = load_policy(folder, device="cpu")
    assert not model.training
    assert model.dtype == torch.float32
    expected = make_model(make_tokenizer()).state_dict()
    assert all(torch.equal(weights, expected[name]) for name, weights in model.state_dict().items())


def test_prompts_are_padded_on_the_left_and_tokens_round_trip(folder):
    tokenizer = load_tokenizer(folder)
    padded = tokenizer(["sum", "print the sum"], padding=True)["input_ids"]
    assert padded[0][0] == tokenizer.pad_token_id
    assert tokenizer.decode(tokenizer("é = 'x'\n\tpass")["input_ids"]) == "é = 'x'\n\tpass"


@pytest.mark.parametrize("load", [load_policy, load_tokenizer])
@pytest.mark.parametrize("path", ["/nowhere/model", "tests/nowhere", "nowhere"])
def test_a_missing_folder_is_named_and_nothing_is_asked_of_the_hub(load, path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()
    with pytest.raises(FileNotFoundError, match=path):
        load(path)


def test_a_folder_without_weights_is_refused_with_what_is_missing(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"safetensors missing"):
        load_policy(folder)


def test_a_tokenizer_that_can_not_write_a_conversation_is_refused(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="no chat template"):
        load_tokenizer(folder)
