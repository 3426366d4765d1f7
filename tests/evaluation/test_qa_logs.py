from lib.evaluation.qa_logs import draw, summarize_draw
from lib.judge.verdict import ERROR_TYPES

LINES = [{"n": n, "error_type": ERROR_TYPES[n % 3]} for n in range(90)]  # 30 of each of the first three types


def test_the_quotas_go_by_the_role_of_a_set_and_an_unknown_role_has_a_default():
    for role, per_type, at_random in (("select", 5, 5), ("test", 10, 0), ("monitor", 5, 0), ("", 5, 0)):
        strata = [line["stratum"] for line in draw(LINES, role, seed=0)]
        counts = [strata.count(name) for name in (*ERROR_TYPES[:3], "random")]
        assert counts == [per_type] * 3 + [at_random], role


def test_lines_are_kept_once_in_their_stratum_and_the_draw_repeats_with_its_seed():
    kept = draw(LINES, "select", seed=1)
    assert kept == draw(LINES, "select", seed=1) != draw(LINES, "select", seed=2)
    assert len({line["n"] for line in kept}) == len(kept)
    assert all(line["stratum"] in ("random", line["error_type"]) for line in kept)


def test_more_failures_of_one_type_do_not_change_the_sample_of_another():
    more = [*LINES, *[{"n": n, "error_type": "timeout"} for n in range(100, 120)]]
    before, after = (draw(lines, "monitor", seed=0) for lines in (LINES, more))
    assert [line for line in after if line["stratum"] != "timeout"] == before


def test_the_summary_says_how_many_there_were_and_how_many_were_kept():
    summary = summarize_draw(LINES, draw(LINES, "select", seed=0))
    assert (summary["n"], summary["random"]) == (90, 5)
    assert summary["by_error_type"]["wrong_answer"] == {"found": 30, "kept": 5}
    assert summary["by_error_type"]["timeout"] == {"found": 0, "kept": 0}
    assert len(draw(LINES[:4], "select", seed=0)) == 4, "a set with few lines keeps them all"
