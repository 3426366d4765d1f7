"""Figures of the report: what they show is what they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from lib.report.forest_plot import ladder, learning_curves, small

ONE = {"accepted_at_1": 0.5, "accepted_at_1_interval": [0.4, 0.6], "accepted_at_1_by_seed": [0.45, 0.55], "n": 165}
FOUND = {
    "SFT": {"contests_test": ONE | {"oracle": False}, "mbpp": ONE | {"oracle": False}},
    "best of n": {"contests_test": ONE | {"oracle": False}, "mbpp": ONE | {"oracle": True}},
}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_the_ladder_has_a_row_per_recipe_with_mean_interval_and_every_seed():
    figure = ladder(FOUND, "Half of them")
    contests, mbpp = figure.axes
    assert [text.get_text() for text in contests.get_yticklabels()] == list(FOUND)
    assert contests.get_title() == "contests test, n = 165"
    ends, mean, seeds = contests.lines[:3]
    assert list(ends.get_xdata()) == [0.4, 0.6]
    assert list(mean.get_xdata()) == [0.5]
    assert list(seeds.get_xdata()) == [0.45, 0.55]
    assert mbpp.lines[1].get_color() == contests.lines[1].get_color() != mbpp.lines[4].get_color(), "an oracle is pale"


def test_every_seed_is_thin_and_the_mean_of_the_seeds_bold():
    rows = [
        (arm, seed, panel, step, step * (seed + 1) / 100)
        for arm in ("dense", "sparse")
        for seed in range(3)
        for panel in ("reward", "KL", "accepted")
        for step in (1, 2)
    ]
    figure = learning_curves(pd.DataFrame(rows, columns=["arm", "seed", "panel", "step", "value"]), "It rises")
    assert [ax.get_title() for ax in figure.axes if ax.get_title()] == ["reward", "KL", "accepted"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "sparse"]
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    thin, bold = ([line for line in lines if (line.get_linewidth() > 1) == thick] for thick in (False, True))
    assert sorted(list(line.get_ydata()) for line in thin[:3]) == [[0.01, 0.02], [0.02, 0.04], [0.03, 0.06]]
    assert [list(line.get_ydata()) for line in bold] == [pytest.approx([0.02, 0.04])] * 2


def test_a_small_picture_is_closed_and_no_larger_than_the_figure(tmp_path):
    figure = ladder(FOUND, "Half of them")
    figure.savefig(tmp_path / "large.png", dpi=100, bbox_inches="tight")
    picture = small(figure)
    picture.save(tmp_path / "small.png")
    assert (tmp_path / "small.png").stat().st_size < (tmp_path / "large.png").stat().st_size / 2
    assert not plt.get_fignums()


def test_a_small_picture_keeps_a_colour_that_is_rare():
    rows = [(arm, 0, "reward", step, 0.5) for arm in "abcde" for step in range(40)]
    figure = learning_curves(
        pd.DataFrame(rows, columns=["arm", "seed", "panel", "step", "value"]), "All but one hidden"
    )
    drawn = [line.get_color() for line in figure.legends[0].get_lines()]
    assert len(set(drawn)) == 5
    pixels = np.asarray(small(figure).convert("RGB"), dtype=int).reshape(-1, 3)
    for colour in drawn:
        assert abs(pixels - 255 * np.array(to_rgb(colour))).sum(1).min() < 30
