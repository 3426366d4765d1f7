"""The tiny base model: a Qwen2 of about 1.9 M parameters with its own tokenizer, trained on the noisy corpus.

It takes the place of Qwen2.5-Coder in the `tiny` preset: it was trained on much code of mixed quality, answers in chat
format, and has not been trained on verdicts of the judge.
"""

from pathlib import Path

import pandas as pd
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, set_seed

from lib.policy.prompts import answer
from lib.tiny.corpus import pairs
from lib.training.config import training_config
from lib.training.sft import train_sft

CONTEXT = 512
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# For a model of type qwen2 AutoTokenizer puts Qwen's own pre-tokenizer in place of the saved one (transformers 5.17:
# MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS), in silence, and the model then reads text cut as it never saw in training.
# An auto_map makes it pass over that list and take the file as it is.
KEEP_AS_SAVED = {"AutoTokenizer": ["", None]}


def train_tokenizer(texts: list[str], vocabulary: int = 1536) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with Qwen's chat markup.

    Tokens may span words up to a comma, a full stop or the end of the line (superwords: Liu et al. 2025, arXiv
    2503.13423): the phrases and code idioms of the tiny world become a token or two, and every phase three times
    cheaper. Digits stay single, so that numbers can be copied.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[,;.:] |\n"), "merged_with_previous"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    pad, _, end = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        eos_token=end,
        additional_special_tokens=list(SPECIAL[1:2]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        padding_side="left",
        auto_map=KEEP_AS_SAVED,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """A randomly initialised Qwen2: 4 layers of width 192. Seed torch before."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config)


def train_base_model(path: str | Path, *, steps: int, seed: int, scratch: Path, batch_size: int = 32) -> pd.DataFrame:
    """Trains tokenizer and model on the corpus, writes them to `path`, returns the curve."""
    set_seed(seed)
    corpus = list(pairs(steps * batch_size, seed))
    tokenizer = train_tokenizer([f"{prompt.strip()}\n{answer(program)}" for prompt, program in corpus[:20_000]])
    model = new_model(tokenizer)
    rows = [([{"role": "user", "content": prompt.strip()}], program) for prompt, program in corpus]
    fields = {"per_device_train_batch_size": batch_size, "learning_rate": 3e-3}
    config = training_config("sft", fields, scratch, max_steps=steps, seed=seed)
    curve = train_sft(model, tokenizer, rows, config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return curve
