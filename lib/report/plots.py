"""Figures: one message each; the title names what is shown, or says what a tested comparison says. Every seed is thin,
the mean thick, and colour-blind readers can tell the colours apart. Nothing here computes a result."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lib.judge.verdict import ERROR_TYPES

# success in green, then from "ran but wrong" to "did not run", the judge's own failures in grey;
# the colours of Okabe and Ito, which colour-blind readers tell apart
ERROR_COLOURS = dict(zip(ERROR_TYPES, ("#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", "#999999"), strict=True))

sns.set_theme(style="whitegrid", context="notebook", font_scale=0.85)


def error_types(shares: pd.DataFrame, title: str) -> Figure:
    """Stacked bars. `shares`: one row per stage, one column per error type, each row adding up to 1."""
    height = 0.55 * len(shares) + 1.3
    figure, axes = plt.subplots(figsize=(7, height))
    bars = shares[list(ERROR_TYPES)].rename(columns=_words)
    bars.plot.barh(stacked=True, width=0.8, color=list(ERROR_COLOURS.values()), ax=axes)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of problems", ylabel="", title=title)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.75 / height), frameon=False)
    return figure


def curves(runs: dict[str, pd.DataFrame], panels: dict[str, str], title: str, window: int = 10) -> Figure:
    """One panel per column of the runs' curves: each run thin as recorded, thick as its mean over `window` steps.

    `runs`: label -> curve with a column `step`; `panels`: column -> what it is called on the axis.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(3.4 * len(panels), 2.9), squeeze=False)
    for ax, (column, name) in zip(axes[0], panels.items(), strict=True):
        for colour, (label, curve) in zip(sns.color_palette("colorblind"), runs.items(), strict=False):
            ax.plot(curve["step"], curve[column], color=colour, alpha=0.25, linewidth=0.8)
            smooth = curve[column].rolling(window, min_periods=1).mean()
            ax.plot(curve["step"], smooth, color=colour, linewidth=2, label=label)
        ax.set(xlabel="step", title=name)
    return _finished(figure, title, axes[0][0].get_legend_handles_labels()[0])


def distributions(table: pd.DataFrame, columns: dict[str, str], title: str) -> Figure:
    """One panel per column of `table`, whose rows are problems: a box per `set`, whiskers to the 5th and 95th percent.

    `columns`: column -> what it is called on the axis, which is logarithmic.
    """
    sets = table["set"].unique()
    size = (4.2 * len(columns), 0.32 * len(sets) + 1.2)
    figure, axes = plt.subplots(1, len(columns), figsize=size, sharey=True, squeeze=False)
    for ax, (column, name) in zip(axes[0], columns.items(), strict=True):
        sns.boxplot(table, x=column, y="set", order=sets, whis=(5, 95), showfliers=False, color="#9db8d2", ax=ax)
        ax.set(xlabel=name, ylabel="")
        _logarithmic(ax)
        ax.tick_params(axis="x", rotation=45)
    return _finished(figure, title)


def matrix(table: pd.DataFrame, title: str, rows: str = "", columns: str = "") -> Figure:
    """Counts as a heat map on a logarithmic scale, each with its number. `rows`, `columns`: titles of the axes."""
    figure, axes = plt.subplots(figsize=(0.85 * len(table.columns) + 2, 0.42 * len(table) + 1.6))
    table = table.rename(index=_words, columns=_words)
    sns.heatmap(np.log1p(table), annot=table, fmt="d", cmap="Blues", cbar=False, linewidths=0.5, ax=axes)
    axes.tick_params(axis="x", rotation=45)
    plt.setp(axes.get_xticklabels(), ha="right")
    axes.set(title=title, ylabel=rows, xlabel=columns)
    return figure


def budget(rows: list[dict], points: dict[str, tuple[float, float]], title: str) -> Figure:
    """Accuracy against tokens per problem. `rows` of lib.evaluation.best_of_n.curve: a line per rule with its band,
    dashed where no user can reach it. `points`: label -> (tokens, accepted) of other policies."""
    figure, axes = plt.subplots(figsize=(7, 3.8))
    table = pd.DataFrame(rows)
    for colour, (rule, own) in zip(sns.color_palette("colorblind"), table.groupby("rule", sort=False), strict=False):
        style = "--" if "bound" in str(rule) else "-"
        axes.plot(own.tokens, own.accepted, style, color=colour, marker=".", label=rule)
        axes.fill_between(own.tokens, own.low, own.high, color=colour, alpha=0.12, linewidth=0)
    for marker, (label, (tokens, accepted)) in zip("*XPDs", points.items(), strict=False):
        axes.plot(tokens, accepted, marker, color="black", markersize=9, label=label)
    axes.set(xlabel="tokens generated per problem", ylabel="accepted", title=title)
    _logarithmic(axes)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def forest_plot(values: dict[str, dict], title: str, labels: dict[str, str]) -> Figure:
    """A panel per set, a line per row of the main table: the mean as a stroke in its interval, every run as a ring.

    `values`: label -> set -> stats, of lib.report.main_table; values that only an oracle reaches are drawn pale.
    `labels`: of the sets, by name.
    """
    sets = list(next(iter(values.values())))
    size = (3.2 * len(sets) + 1, 0.36 * len(values) + 1.2)
    figure, panels = plt.subplots(1, len(sets), figsize=size, sharey=True, squeeze=False)
    for ax, name in zip(panels[0], sets, strict=True):
        for y, row in enumerate(values.values()):
            stats = row[name]
            colour = "#b0b0b0" if stats["oracle"] else "#0173b2"
            ends, seeds = stats["accepted_at_1_interval"], stats["accepted_at_1_by_seed"]
            ax.plot(ends, (y, y), color=colour, linewidth=6, alpha=0.35, solid_capstyle="butt")
            ax.plot(stats["accepted_at_1"], y, "|", color=colour, markersize=13, markeredgewidth=2.5)
            ax.plot(seeds, [y] * len(seeds), "o", color="black", fillstyle="none", markersize=4)
        ax.set(xlim=(0, 1), xlabel="accepted", title=f"{labels.get(name, name)}, n = {stats['n']}")
        ax.xaxis.set_major_formatter("{x:.0%}")
    panels[0][0].set_yticks(range(len(values)), list(values))
    panels[0][0].invert_yaxis()
    return _finished(figure, title)


def learning_curves(table: pd.DataFrame, shown: list[tuple[str, str]], title: str, columns: int = 2) -> Figure:
    """`table` of lib.report.learning.learning. `shown`: (panel, axis) of each plot, the axis `step`, `tokens` or
    `minutes`. Every seed thin; against steps the mean over the seeds that got so far is thick."""
    lines = -(-len(shown) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(8, 2.3 * lines), squeeze=False)
    colours = dict(zip(table.row.unique(), sns.color_palette("colorblind"), strict=False))
    for ax, (panel, axis) in zip(axes.flat, shown, strict=False):
        for name, row in table[table.panel == panel].groupby("row", sort=False):
            seeds = [seed.set_index(axis).value for _, seed in row.groupby("seed")]
            for seed in seeds:
                ax.plot(seed.index, seed, color=colours[name], linewidth=0.8, alpha=0.45)
            means = row.groupby("step", as_index=False)[["tokens", "minutes", "value"]].mean()
            ax.plot(means[axis], means.value, color=colours[name], linewidth=2.2)
        ax.set(title=panel, xlabel=axis)
        if axis == "tokens":
            ax.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:,.0f} k")
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    drawn = set(table[table.panel.isin([panel for panel, _ in shown])].row)
    handles = [plt.Line2D([], [], color=colours[name], linewidth=2.2, label=name) for name in colours if name in drawn]
    return _finished(figure, title, handles)


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _finished(figure: Figure, title: str, legend: Sequence[Artist] = ()) -> Figure:
    """The figure with its title, and with its legend below the panels, where no curve is."""
    figure.suptitle(title)
    figure.tight_layout()
    if legend:
        figure.legend(handles=list(legend), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3, frameon=False)
    return figure


def _logarithmic(axes: Axes) -> None:
    """Makes the x axis logarithmic, with whole numbers as labels."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
