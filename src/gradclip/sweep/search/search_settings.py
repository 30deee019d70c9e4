"""The settings of a search; ``conf/hydra/sweeper/search.yaml`` says what they mean."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt, ValidationError

from gradclip.config.base import Settings
from gradclip.errors import ConfigError


class SearchSettings(Settings):
    """How long to search and what for."""

    trials: PositiveInt
    batch: PositiveInt
    first_seeds: PositiveInt
    reduction_factor: PositiveInt
    score: Literal["test", "train"]
    over_seeds: Literal["median", "mean", "worst"]
    sampler_seed: NonNegativeInt


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
        return SearchSettings.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].replace("Input should be", "must be")
        raise ConfigError(f"hydra.sweeper.{first['loc'][0]}: got {first['input']!r}; {message}") from error
