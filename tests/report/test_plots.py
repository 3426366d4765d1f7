"""Figures: what they show is what they were given."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from lib.judge.verdict import ERROR_TYPES
from lib.report.plots import (
    ERROR_COLOURS,
    budget,
    curves,
    distributions,
    error_types,
    forest_plot,
    learning_curves,
    matrix,
)

SHARES = pd.DataFrame(
    [[0.1, 0.4, 0.1, 0.2, 0.2, 0.0], [0.5, 0.4, 0.0, 0.05, 0.05, 0.0]],
    index=["Base", "SFT"],
    columns=list(ERROR_TYPES),
)
CURVE = pd.DataFrame({"step": range(1, 6), "reward": [0.0, 1.0, 0.0, 1.0, 1.0], "kl": [0.0, 0.1, 0.2, 0.3, 0.4]})


ROW_STATS = {
    "accepted_at_1": 0.5,
    "accepted_at_1_interval": [0.4, 0.6],
    "accepted_at_1_by_seed": [0.45, 0.55],
    "n": 165,
}
VALUES = {
    "SFT": {"contests_test": ROW_STATS | {"oracle": False}, "mbpp": ROW_STATS | {"oracle": False}},
    "best of n": {"contests_test": ROW_STATS | {"oracle": False}, "mbpp": ROW_STATS | {"oracle": True}},
}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_a_bar_per_stage_is_stacked_from_the_shares_in_the_order_given():
    [axes] = error_types(SHARES, "SFT solves 50 %").axes
    widths = {container.get_label(): [bar.get_width() for bar in container] for container in axes.containers}
    assert list(widths) == [name.replace("_", " ") for name in ERROR_TYPES]
    for name in ERROR_TYPES:
        assert widths[name.replace("_", " ")] == pytest.approx(list(SHARES[name]))
    for n in range(len(SHARES)):
        assert axes.containers[-1][n].get_x() + axes.containers[-1][n].get_width() == pytest.approx(1)
    assert axes.get_title() == "SFT solves 50 %"
    assert axes.yaxis_inverted(), "the first stage stands on top"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Base", "SFT"]


def test_each_error_type_has_a_colour_of_its_own():
    assert set(ERROR_COLOURS) == set(ERROR_TYPES)
    assert len(set(ERROR_COLOURS.values())) == len(ERROR_TYPES)


def test_a_run_is_drawn_thin_as_recorded_and_thick_as_its_running_mean():
    runs = {"dense": CURVE, "sparse": CURVE.assign(reward=1.0)}
    figure = curves(runs, {"reward": "reward", "kl": "KL"}, "The reward rises", window=2)
    reward, kl = figure.axes
    assert (reward.get_title(), kl.get_title(), reward.get_xlabel()) == ("reward", "KL", "step")
    assert figure.get_suptitle() == "The reward rises"
    thin, thick, *_ = reward.lines
    assert list(thin.get_ydata()) == list(CURVE.reward)
    assert list(thick.get_ydata()) == [0.0, 0.5, 0.5, 0.5, 1.0]
    assert thin.get_linewidth() < thick.get_linewidth()
    assert thin.get_color() == thick.get_color() != reward.lines[2].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "sparse"]


def test_figures_can_be_saved(tmp_path):
    for name, figure in (("bars", error_types(SHARES, "a")), ("lines", curves({"a": CURVE}, {"kl": "KL"}, "b"))):
        figure.savefig(tmp_path / f"{name}.png", dpi=100, bbox_inches="tight")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_box_per_set_on_a_logarithmic_axis_per_column():
    table = pd.DataFrame({"set": ["b"] * 3 + ["a"] * 3, "tests": [1, 2, 3, 10, 20, 30], "words": [5] * 6})
    figure = distributions(table, {"tests": "tests", "words": "words per statement"}, "Twenty")
    assert [axes.get_xlabel() for axes in figure.axes] == ["tests", "words per statement"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "a"], "in the order of the table"
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}
    medians = [line.get_xdata() for line in figure.axes[0].lines if len(set(line.get_xdata())) == 1]
    assert any(set(values) == {20} for values in medians)


def test_a_matrix_shows_its_numbers():
    table = pd.DataFrame([[3, 0], [1200, 4]], ["train", "test"], ["train", "test"])
    [axes] = matrix(table, "Copies").axes
    assert [text.get_text() for text in axes.texts] == ["3", "0", "1200", "4"]
    assert axes.get_title() == "Copies"


def test_a_budget_has_a_line_with_a_band_per_rule_and_a_point_per_policy():
    rows = [
        {"rule": rule, "n": n, "tokens": 20 * n, "accepted": 0.1 * n, "low": 0.05 * n, "high": 0.2 * n}
        for rule in ("public tests", "oracle (upper bound)")
        for n in (1, 2, 4)
    ]
    [axes] = budget(rows, {"GRPO": (22, 0.7)}, "Public tests help").axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["public tests", "oracle (upper bound)", "GRPO"]
    assert list(lines["public tests"].get_xdata()) == [20, 40, 80]
    assert list(lines["public tests"].get_ydata()) == pytest.approx([0.1, 0.2, 0.4])
    assert lines["oracle (upper bound)"].get_linestyle() == "--", "nobody can reach it"
    assert (list(lines["GRPO"].get_xdata()), list(lines["GRPO"].get_ydata())) == ([22], [0.7])
    assert len(axes.collections) == 2


def test_the_forest_plot_has_a_row_per_recipe_with_mean_interval_and_every_seed():
    figure = forest_plot(VALUES, "Half of them", {"contests_test": "contests test"})
    contests, mbpp = figure.axes
    assert [text.get_text() for text in contests.get_yticklabels()] == list(VALUES)
    assert contests.get_title() == "contests test, n = 165"
    ends, mean, seeds = contests.lines[:3]
    assert list(ends.get_xdata()) == [0.4, 0.6]
    assert list(mean.get_xdata()) == [0.5]
    assert list(seeds.get_xdata()) == [0.45, 0.55]
    assert mbpp.lines[1].get_color() == contests.lines[1].get_color() != mbpp.lines[4].get_color(), "an oracle is pale"


def test_every_seed_is_thin_and_the_mean_of_the_seeds_thick():
    rows = [
        (row, seed, panel, step, 100 * step, step / 2, step * (seed + 1) / 100)
        for row in ("dense", "sparse")
        for seed in range(3)
        for panel in ("reward", "KL", "accepted")
        for step in (1, 2)
    ]
    table = pd.DataFrame(rows, columns=["row", "seed", "panel", "step", "tokens", "minutes", "value"])
    shown = [("reward", "step"), ("accepted", "tokens"), ("accepted", "minutes")]
    figure = learning_curves(table, shown, "Curves", columns=2)
    assert [(ax.get_title(), ax.get_xlabel()) for ax in figure.axes if ax.get_title()] == shown
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "sparse"]
    lines = figure.axes[0].lines
    thin, thick = ([line for line in lines if (line.get_linewidth() > 1) == bold] for bold in (False, True))
    assert sorted(list(line.get_ydata()) for line in thin[:3]) == [[0.01, 0.02], [0.02, 0.04], [0.03, 0.06]]
    assert [list(line.get_ydata()) for line in thick] == [pytest.approx([0.02, 0.04])] * 2
    assert list(figure.axes[1].lines[0].get_xdata()) == [100, 200]
    assert list(figure.axes[2].lines[0].get_xdata()) == [0.5, 1.0]
