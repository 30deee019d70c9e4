"""Tables and figure of ``docs/league.md``, made from stored results."""

from collections.abc import Callable, Sequence
from math import isfinite, isinf
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from gradclip.formatting import format_value
from gradclip.plots.style import BLACK, BLUE, GREY, ORANGE, PALE, draw, score_axis, series_style
from tests.benchmarks.league_methods import METHODS, NO_THRESHOLD
from tests.benchmarks.league_problems import PROBLEMS
from tests.benchmarks.league_standings import NEAR, Standing, Standings, standings_of

BEGIN, END = "<!-- league:begin -->", "<!-- league:end -->"
LARGEST_REGRET = 30.0  # end of the figure's axis
HIGHLIGHTED = 6  # clipping methods with a colour in the profile, best first
WITHOUT_CLIPPING = tuple(method.name for method in METHODS if method.option == "none")
WITH_DECADES = frozenset(method.name for method in METHODS if method.unit not in {"percentile", "none"})


def write_page(results: pd.DataFrame, docs: Path) -> None:
    """Write the tables between the markers of ``league.md``, and draw ``league.png``.

    Problems on which some method has not been trained yet are omitted.

    Args:
        results: results with one row per run.
        docs: folder of the page.
    """
    methods = {method.name for method in METHODS if not method.scales_target}
    done = [name for name, runs in results.groupby("problem") if methods <= set(runs.method)]
    solved = {problem.name: problem.solved for problem in PROBLEMS}
    standings = standings_of(results[results.problem.isin(done)], solved)
    order = sorted(standings, key=lambda method: (_median_regret(standings[method]), _worst(standings[method])))
    ordered = {method: standings[method] for method in order}
    page = docs / "league.md"
    before, _, old = page.read_text(encoding="utf-8").partition(BEGIN)
    text = f"{before}{BEGIN}\n\n{tables(ordered)}\n\n{END}{old.partition(END)[2]}"
    page.write_text(text, encoding="utf-8")
    draw(docs / "league.png", lambda figure: plot(figure, ordered), size=(11, 10.5))


def tables(standings: Standings) -> str:
    """Return Markdown tables of the summary, the regrets and the chosen thresholds, in the order of the methods."""
    problems = [problem.name for problem in PROBLEMS if any(problem.name in own for own in standings.values())]
    heads = ("median regret", "worst", f"within {NEAR:g}", "diverged, chosen", "diverged, all", "decades")
    summary = _table(heads, {method: _summary(method, own) for method, own in standings.items()})
    regrets = {method: [_cell(own.get(name), _regret) for name in problems] for method, own in standings.items()}
    regrets["*median error of the best*"] = [format_value(_best_error(standings, name)) for name in problems]
    chosen = {
        method: [_cell(own.get(name), _threshold) for name in problems]
        for method, own in standings.items()
        if any(one.threshold != NO_THRESHOLD for one in own.values())
    }
    parts = {
        "Over all problems": summary,
        "Regret on each problem": _table(problems, regrets),
        "Chosen thresholds": _table(problems, chosen),
    }
    return "\n\n".join(f"### {title}\n\n{table}" for title, table in parts.items())


def _table(heads: Sequence[str], rows: dict[str, list[str]]) -> str:
    lines = [f"| method | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def _summary(method: str, own: dict[str, Standing]) -> list[str]:
    regrets = [one.regret.value for one in own.values()]
    near = sum(one <= NEAR for one in regrets)
    return [
        _number(_median_regret(own)),
        _number(_worst(own)),
        f"{near} of {len(regrets)}",
        f"{np.mean([one.diverged for one in own.values()]):.0%}",
        f"{np.mean([one.diverged_of_all for one in own.values()]):.0%}",
        _median_decades(method, own),
    ]


def _cell(standing: Standing | None, write: Callable[[Standing], str]) -> str:
    return "" if standing is None else write(standing)


def _regret(one: Standing) -> str:
    low, high = _number(one.regret.low), _number(one.regret.high)
    return _number(one.regret.value) + ("" if low == high else f" ({low}, {high})")


def _threshold(one: Standing) -> str:
    return f"{one.threshold:g}{' ↓' * one.is_lowest}{' ↑' * one.is_highest}"


def _number(value: float) -> str:
    if isinf(value):
        return "diverged"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}" if value < 1000 else f"{value:.0e}".replace("e+0", "e")


def _best_error(standings: Standings, problem: str) -> float:
    return min(float(np.median(own[problem].test)) for own in standings.values() if problem in own)


def _median_regret(own: dict[str, Standing]) -> float:
    return median(one.regret.value for one in own.values())


def _worst(own: dict[str, Standing]) -> float:
    return max(one.regret.value for one in own.values())


def _decades(method: str, own: dict[str, Standing]) -> list[float]:
    """Return the decades of the threshold on each problem for which they are known."""
    found = [one.decades for one in own.values()] if method in WITH_DECADES else []
    return [decades for decades in found if isfinite(decades)]


def _median_decades(method: str, own: dict[str, Standing]) -> str:
    decades = _decades(method, own)
    return f"{median(decades):.1f}" if decades else ""


def plot(figure: Figure, standings: Standings) -> None:
    """Plot the profile of regrets above the divergence and the sensitivity of each method.

    Args:
        figure: an empty figure.
        standings: standings of the methods, from top to bottom.
    """
    figure.set_layout_engine("constrained", h_pad=0.12)
    panels = figure.subplot_mosaic("AA;BC", height_ratios=[1.0, 1.15])
    plot_profile(panels["A"], standings)
    plot_divergence(panels["B"], standings)
    plot_sensitivity(panels["C"], standings)


def plot_profile(axes: Axes, standings: Standings) -> None:
    """Plot the performance profile of each method: its share of problems by largest regret (Dolan & Moré 2002)."""
    clipping = [method for method in standings if method not in WITHOUT_CLIPPING]
    colored = [*clipping[:HIGHLIGHTED], *(method for method in WITHOUT_CLIPPING if method in standings)]
    for method in sorted(standings, key=lambda method: method in colored):
        regrets = np.minimum([one.regret.value for one in standings[method].values()], 10 * LARGEST_REGRET)
        if method in colored:
            style = series_style(colored.index(method))
            axes.ecdf(regrets, color=style.color, linestyle=style.line, linewidth=2, label=method)
        else:
            axes.ecdf(regrets, color=PALE, linewidth=1.2, zorder=1)
    axes.plot([], [], color=PALE, linewidth=1.2, label="other methods")
    axes.set(xscale="log", xlim=(1, LARGEST_REGRET), xlabel="regret: test error as a multiple of the best method's")
    axes.set(title="Problems with at most this regret", ylabel="share of the problems")
    axes.xaxis.set_major_locator(FixedLocator([1, 1.2, 1.5, 2, 3, 5, 10, 20, 30]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    score_axis(axes, (0.0, 1.0), is_fraction=True)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def plot_divergence(axes: Axes, standings: Standings) -> None:
    """Plot the share of diverged runs of each method, at the chosen thresholds and at all thresholds."""
    for row, own in enumerate(standings.values()):
        chosen, every = (
            float(np.mean([getattr(one, name) for one in own.values()])) for name in ("diverged", "diverged_of_all")
        )
        axes.barh(row, every, height=0.7, color=PALE)
        axes.plot(chosen, row, "o", color=BLUE, markersize=6)
    axes.barh([0], [0], color=PALE, label="all thresholds tried")
    axes.plot([], [], "o", color=BLUE, label="the chosen threshold")
    axes.set(title="Runs that diverged", xlim=(-0.02, 1.02), xlabel="share of the runs, over all problems")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    _rows(axes, [*standings])


def plot_sensitivity(axes: Axes, standings: Standings) -> None:
    """Plot over how many decades the threshold of each method is as good as the best, on each problem."""
    for row, (method, own) in enumerate(standings.items()):
        if decades := _decades(method, own):
            spread = np.linspace(-0.25, 0.25, len(decades))
            axes.plot(decades, row + spread, "o", color=ORANGE, markersize=4)
            axes.plot([median(decades)] * 2, [row - 0.36, row + 0.36], color=BLACK, linewidth=2)
        else:
            reason = "diverged at every threshold" if method in WITH_DECADES else "no threshold in decades"
            axes.text(0.0, row, reason, color=GREY, fontsize=9, va="center")
    axes.set(title="Range of good thresholds", xlabel=f"decades within a factor of {NEAR:g} of the best")
    axes.plot([], [], "o", color=ORANGE, markersize=4, label="one problem")
    axes.plot([], [], color=BLACK, linewidth=2, label="median")
    _rows(axes, [""] * len(standings))


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    """Label the rows, the first one at the top, and place the legend below."""
    axes.set_yticks(range(len(labels)), labels, fontsize=10)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
