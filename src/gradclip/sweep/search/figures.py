"""Arrays for the figure of a search."""

from collections.abc import Collection, Sequence
from math import isnan

import numpy as np

from gradclip.formatting import parse_number
from gradclip.plots.search import SearchedSetting, SearchTrials
from gradclip.scores import ACCURACY
from gradclip.sweep.search.trial import Trial, best_trial, metric_of

MAX_SETTINGS = 6  # more panels would be too small to read
MAX_NAMES = 6  # up to this number of different values are drawn side by side


def trials_of(trials: Sequence[Trial]) -> SearchTrials:
    """Return the arrays of the trials that are drawn."""
    best = best_trial(trials)
    so_far = [best_trial(trials[: count + 1]) for count in range(len(trials))]
    lowest, highest = np.array([trial.range for trial in trials]).T
    return SearchTrials(
        score=f"{metric_of(trials)}, {trials[0].over_seeds}",
        values=np.array([trial.average for trial in trials]),
        lowest=lowest,
        highest=highest,
        seeds=np.array([len(trial.jobs) for trial in trials]),
        all_seeds=trials[0].seeds,
        without_score={
            state: found
            for state in ("diverged", "failed")
            if (found := [index for index, trial in enumerate(trials) if trial.state == state])
        },
        best=None if best is None else list(trials).index(best),
        best_so_far=np.array([np.nan if one is None else one.average for one in so_far]),
        is_fraction=any(trial.measured is ACCURACY for trial in trials),
    )


def settings_of(trials: Sequence[Trial], log_scale: Collection[str]) -> list[SearchedSetting]:
    """Return the position of each trial on the axis of each setting; ``log_scale`` names the logarithmic axes."""
    return [
        _setting(name, [trial.values[name] for trial in trials], name in log_scale)
        for name in list(trials[0].values)[:MAX_SETTINGS]
    ]


def _setting(name: str, written: Sequence[str], is_log: bool) -> SearchedSetting:
    """Place numbers by value, and names and a few different numbers side by side."""
    names = sorted(set(written), key=_by_size)
    if any(isnan(parse_number(value)) for value in names) or (len(names) <= MAX_NAMES and not is_log):
        return SearchedSetting(name, np.array([names.index(value) for value in written], dtype=float), names, False)
    return SearchedSetting(name, np.array([float(value) for value in written]), (), is_log)


def _by_size(text: str) -> tuple[bool, float, str]:
    number = parse_number(text)
    return (True, 0.0, text) if isnan(number) else (False, number, "")
