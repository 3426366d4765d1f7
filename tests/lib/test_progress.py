"""What a training prints: about ten lines, whatever its length."""

import re

import pytest
from tiny_policy import make_model, make_tokenizer

from lib.progress import LINES
from lib.sft import train_sft

PAIRS = [([{"role": "user", "content": "add"}], "print(1)")] * 4


@pytest.mark.parametrize(("steps", "lines"), [(3, 3), (25, LINES)])
def test_a_training_prints_about_ten_lines_with_the_step_and_the_loss(steps, lines, tmp_path, capfd):
    tokenizer = make_tokenizer()
    train_sft(make_model(tokenizer), tokenizer, PAIRS, tmp_path, steps=steps, batch_size=2, log_every=1)
    printed = capfd.readouterr().out.splitlines()
    assert len(printed) == lines
    assert all(re.fullmatch(rf"step \d+ of {steps}: loss \d+\.\d{{3}}", line) for line in printed)
    assert printed[-1].startswith(f"step {steps} of {steps}: ")
