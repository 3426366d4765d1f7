from dataclasses import replace

from tiny_policy import make_tokenizer

from lib.policy.prompts import count_tokens, drop_long_prompts, messages
from lib.problems import Problem

PROBLEM = Problem("p1", "tiny_contests", "train", "stdio", "\nPrint the sum.\n", tests=())


def test_the_statement_alone_is_the_one_user_message():
    assert messages(PROBLEM) == [{"role": "user", "content": "Print the sum."}]


def test_an_instruction_of_the_preset_follows_the_statement():
    assert messages(PROBLEM, "Answer in Python.")[0]["content"] == "Print the sum.\nAnswer in Python."


def test_prompts_of_too_many_tokens_are_left_out_with_a_word_and_the_instruction_counts(capsys):
    tokenizer = make_tokenizer()
    long = replace(PROBLEM, id="p2", prompt="Print the sum. " * 9)
    limit = count_tokens(tokenizer, messages(PROBLEM, "Answer."))
    assert drop_long_prompts([PROBLEM, PROBLEM], tokenizer, limit, "Answer.") == [PROBLEM, PROBLEM]
    assert capsys.readouterr().out == ""
    assert drop_long_prompts([long, PROBLEM], tokenizer, limit, "Answer.") == [PROBLEM]
    assert capsys.readouterr().out == f"1 of 2 prompts have more than {limit} tokens: excluded\n"
    assert drop_long_prompts([PROBLEM], tokenizer, limit, "Answer in Python.") == []
