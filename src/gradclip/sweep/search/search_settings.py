"""Settings of a search, which ``conf/hydra/sweeper/search.yaml`` explains."""

from collections.abc import Mapping
from typing import Any, Literal

from gradclip.config.base import Count, Seed, Settings
from gradclip.config.validation import validate_values
from gradclip.errors import ConfigError


class SearchSettings(Settings):
    """Settings of a search: how long it runs and what it optimizes."""

    trials: Count
    batch: Count
    first_seeds: Count
    reduction_factor: Count
    score: Literal["auto", "test", "train"]
    over_seeds: Literal["median", "mean", "worst"]
    sampler_seed: Seed


def read_settings(settings: Mapping[str, Any]) -> SearchSettings:
    """Check the settings of a search.

    Raises:
        ConfigError: with the name of the setting, the value received and what is allowed.

    Example:
        >>> read_settings({"trials": 0})
        Traceback (most recent call last):
        gradclip.errors.ConfigError: hydra.sweeper.trials: got 0; must be greater than 0
    """
    try:
        return validate_values(SearchSettings, settings)
    except ConfigError as error:
        raise ConfigError(f"hydra.sweeper.{error}") from error
