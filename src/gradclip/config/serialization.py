"""Checked settings as plain data: as YAML, as text under dotted names, as a fingerprint."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from gradclip.config.schema import TrainConfig


def fingerprint(config: TrainConfig) -> str:
    """A short hash of all settings that change the training: runs that share it are the same run.

    What is stored, drawn and shown does not count.
    """
    incidental: Any = {"tracking": True, "log_model": True, "figures": True, "trainer": {"progress_bar"}}
    settings = config.model_dump(mode="json", by_alias=True, exclude=incidental)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def flatten(config: TrainConfig) -> dict[str, str]:
    """Every setting as text under its dotted name, as the store keeps it."""
    return dict(_leaves("", config.model_dump(by_alias=True)))


def _leaves(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", str(value)
