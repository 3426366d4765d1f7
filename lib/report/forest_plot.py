"""Figures of the report: every seed thin, the mean bold, colours that a colour-blind reader tells apart. Nothing here
makes a number."""

import io

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

SET_NAMES = {"contests_test": "contests test", "humaneval": "HumanEval-like", "mbpp": "MBPP-like"}


def ladder(found: dict[str, dict], title: str) -> Figure:
    """A panel per set, a line per row of the main table: the mean as a stroke in its interval, and every run as a ring.

    `found`: label -> set -> figures, as lib.report.main_table gives them; a figure that only an oracle reaches is drawn pale.
    """
    sets = list(next(iter(found.values())))
    figure, panels = plt.subplots(1, len(sets), figsize=(3.2 * len(sets) + 1, 0.36 * len(found) + 1.2), sharey=True)
    for ax, name in zip(panels, sets, strict=True):
        for y, row in enumerate(found.values()):
            own = row[name]
            colour = "#b0b0b0" if own["oracle"] else "#0173b2"
            ends, seeds = own["accepted_at_1_interval"], own["accepted_at_1_by_seed"]
            ax.plot(ends, (y, y), color=colour, linewidth=6, alpha=0.35, solid_capstyle="butt")
            ax.plot(own["accepted_at_1"], y, "|", color=colour, markersize=13, markeredgewidth=2.5)
            ax.plot(seeds, [y] * len(seeds), "o", color="black", fillstyle="none", markersize=4)
        ax.set(xlim=(0, 1), xlabel="accepted", title=f"{SET_NAMES.get(name, name)}, n = {own['n']}")
        ax.xaxis.set_major_formatter("{x:.0%}")
    panels[0].set_yticks(range(len(found)), list(found))
    panels[0].invert_yaxis()
    figure.suptitle(title)
    figure.tight_layout()
    return figure


def learning_curves(table: pd.DataFrame, title: str) -> Figure:
    """`table` of lib.report.panels.learning: a panel each, every seed thin, the mean over the seeds that got so far bold."""
    panels = list(table.panel.unique())
    rows = -(-len(panels) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(9, 2.6 * rows), squeeze=False)
    colours = dict(zip(table.arm.unique(), sns.color_palette("colorblind"), strict=False))
    for ax, panel in zip(axes.flat, panels, strict=False):
        shared = {"data": table[table.panel == panel], "x": "step", "y": "value", "hue": "arm", "palette": colours}
        sns.lineplot(**shared, units="seed", estimator=None, linewidth=0.7, alpha=0.45, legend=False, ax=ax)
        sns.lineplot(**shared, errorbar=None, linewidth=2.4, ax=ax)
        ax.set(title=panel, ylabel="")
        ax.get_legend().remove()
    figure.suptitle(title)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.01), ncols=2, frameon=False)
    figure.tight_layout()
    return figure


def small(figure: Figure) -> Image.Image:
    """The figure as a picture of 128 colours, a quarter of the bytes, so that an executed notebook stays small; closed,
    so that it is not shown twice."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight")
    plt.close(figure)
    # An octree keeps colours that are rare, such as a line's in the legend; the median cut mixes them with others.
    return Image.open(buffer).convert("RGB").quantize(128, method=Image.Quantize.FASTOCTREE)
