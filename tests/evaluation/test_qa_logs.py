from lib.evaluation.qa_logs import draw, summary
from lib.judge.verdict import ERROR_TYPES

ROWS = [(n, ERROR_TYPES[n % 3]) for n in range(90)]  # 30 of each of the first three types


def error_type(row) -> str:
    return row[1]


def strata(dataset: str) -> list[str]:
    return [stratum for stratum, _ in draw(dataset, ROWS, error_type, seed=0)]


def test_each_set_keeps_as_many_of_each_error_type_as_the_table_says():
    for dataset, per_type, random in (
        ("contests_valid", 5, 5),
        ("codecontests_valid", 5, 5),
        ("contests_valid_big", 5, 5),
        ("codecontests_test", 10, 0),
        ("humaneval", 6, 0),
        ("mbpp_reg", 5, 0),
    ):
        counts = [strata(dataset).count(name) for name in (*ERROR_TYPES[:3], "random")]
        assert counts == [per_type] * 3 + [random], dataset


def test_rows_are_kept_once_in_their_stratum_and_the_draw_repeats_with_its_seed():
    kept = draw("contests_valid", ROWS, error_type, seed=1)
    assert kept == draw("contests_valid", ROWS, error_type, seed=1) != draw("contests_valid", ROWS, error_type, seed=2)
    assert len({row for _, row in kept}) == len(kept)
    assert all(stratum in ("random", row[1]) for stratum, row in kept)


def test_more_failures_of_one_type_do_not_move_the_sample_of_another():
    more = [*ROWS, *[(n, "timeout") for n in range(100, 120)]]
    before, after = (draw("mbpp", rows, error_type, seed=0) for rows in (ROWS, more))
    assert [one for one in after if one[0] != "timeout"] == before


def test_the_summary_says_how_many_there_were_and_how_many_were_kept():
    kept = draw("contests_valid", ROWS, error_type, seed=0)
    found = summary(kept, ROWS, error_type)
    assert (found["n"], found["random"]) == (90, 5)
    assert found["by_error_type"]["wrong_answer"] == {"found": 30, "kept": 5}
    assert found["by_error_type"]["timeout"] == {"found": 0, "kept": 0}
    short = draw("contests_valid", ROWS[:4], error_type, seed=0)
    assert len(short) == 4, "what there is"
