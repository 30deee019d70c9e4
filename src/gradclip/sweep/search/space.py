"""Search space for Optuna, read from the overrides of a multirun."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from gradclip.errors import ConfigError

EXAMPLE = "'clip.value=tag(log, interval(0.01, 100))'"


@dataclass(frozen=True)
class Space:
    """Settings that a search varies, and settings that it keeps fixed.

    Attributes:
        fixed: overrides of every job.
        distributions: distribution of each searched setting, by name.
        seeds: seeds of each setting, as written in overrides.
    """

    fixed: tuple[str, ...]
    distributions: dict[str, BaseDistribution]
    seeds: tuple[str, ...]

    @property
    def log_scale(self) -> list[str]:
        """The searched settings with a logarithmic range."""
        return [name for name, range_ in self.distributions.items() if getattr(range_, "log", False)]

    def job(self, values: Mapping[str, str], seed: str) -> list[str]:
        """Return the overrides of one job."""
        return [*self.fixed, *(f"{name}={value}" for name, value in values.items()), f"seed={seed}"]

    def values(self, suggested: Mapping[str, Any]) -> dict[str, str]:
        """Return Optuna's suggestions as written in overrides."""
        return {name: _written(distribution, suggested[name]) for name, distribution in self.distributions.items()}

    def corners(self) -> Iterator[list[str]]:
        """Yield jobs that cover each choice and each end of a range at least once."""
        ends = {name: _ends(distribution) for name, distribution in self.distributions.items()}
        first = {name: options[0] for name, options in ends.items()}
        for name, options in ends.items():
            yield from (self.job(first | {name: option}, self.seeds[0]) for option in options)


def read_space(overrides: Sequence[Override], seed: int) -> Space:
    """Split overrides into searched settings, seeds and fixed settings; ``seed`` is used if no override sets one.

    Raises:
        ConfigError: no setting is searched, or a range is invalid.
    """
    fixed: list[str] = []
    seeds: tuple[str, ...] = (str(seed),)
    distributions = {}
    for override in overrides:
        name = override.get_key_element()
        if override.key_or_group == "seed":
            seeds = _seeds(override)
        elif override.is_sweep_override():
            distributions[name] = _distribution(name, override)
        else:
            fixed.append(str(override.input_line))
    if not distributions:
        raise ConfigError(f"hydra/sweeper=search: nothing to search; give a setting a range, such as {EXAMPLE}")
    return Space(tuple(fixed), distributions, seeds)


def _seeds(override: Override) -> tuple[str, ...]:
    if override.is_interval_sweep():
        raise ConfigError(f"seed: got {override.get_value_string()}; must be a list: seed=0,1,2 or seed=range(3)")
    if override.is_sweep_override():
        return tuple(dict.fromkeys(override.sweep_string_iterator()))
    return (override.get_value_element_as_str(),)


def _distribution(name: str, override: Override) -> BaseDistribution:
    sweep = override.value()
    if unknown := set(getattr(sweep, "tags", ())) - {"log"}:
        raise ConfigError(f"{name}: got the tag {min(unknown)!r}; choose from log")
    try:
        if isinstance(sweep, IntervalSweep):
            kind = IntDistribution if isinstance(sweep.start, int) else FloatDistribution
            return kind(sweep.start, sweep.end, log="log" in sweep.tags)
        steps = sweep.range() if isinstance(sweep, RangeSweep) else None
        if isinstance(steps, range) and steps:
            low, high = sorted((steps[0], steps[-1]))
            return IntDistribution(low, high, log="log" in sweep.tags, step=abs(sweep.step))
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except ValueError as error:
        allowed = "the lower end must come first; on a log scale, it must be above 0, with steps of 1"
        raise ConfigError(f"{name}: got {override.get_value_string()}; {allowed}") from error


def _ends(distribution: BaseDistribution) -> list[str]:
    if isinstance(distribution, CategoricalDistribution):
        return [str(choice) for choice in distribution.choices]
    return [str(distribution.low), str(distribution.high)]  # type: ignore[attr-defined]  # ranges have ends


def _written(distribution: BaseDistribution, value: Any) -> str:
    """Return a value with four significant digits, within its range."""
    if isinstance(distribution, FloatDistribution):
        return str(min(max(float(f"{value:.4g}"), distribution.low), distribution.high))
    return str(value)
