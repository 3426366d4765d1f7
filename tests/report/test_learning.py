"""Learning curves of planted runs: area, threshold, and a value per seed."""

import pandas as pd
import pytest
from test_comparison import recipes

from lib.report.learning import first_reached, learning_table
from lib.report.runs import NOT_RUN


def test_a_threshold_is_reached_by_the_running_mean_or_never():
    curve = pd.DataFrame({"step": range(1, 31), "success_rate": [0.2] * 10 + [0.9] + [0.2] * 4 + [0.6] * 15})
    assert first_reached(curve, 0.5) == 23
    assert first_reached(curve, 0.7) is None


def test_the_table_has_a_value_per_seed_and_shows_a_hole_where_a_run_is_missing(tmp_path):
    found = recipes(tmp_path, [0.45, 0.6], [0.7, 0.7])
    found["dense"][2] = found["sparse"][2] = None
    found["SFT"] = dict.fromkeys(range(3))
    table = learning_table(found, "contests_test", per_step=64)
    shown = table.loc["dense", "accepted"].split(" · ")
    assert shown[2] == NOT_RUN
    first, second = map(float, shown[:2])
    assert float(table.loc["dense", "sd"]) == pytest.approx(abs(first - second) / 2**0.5, abs=0.11)
    assert table.loc["dense", "steps to 50%"] == f"never · 17 · {NOT_RUN}"
    assert table.loc["sparse", "rollouts to 50%"] == f"960 · 960 · {NOT_RUN}"
    assert table.loc["dense", "area"].startswith("0.412 · 0.525")
    assert set(table.loc["SFT"].drop(["runs", "sd"])) == {NOT_RUN}
