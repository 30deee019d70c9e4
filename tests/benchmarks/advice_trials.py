"""Training runs of settings over the seeds that judge advice; results are cached in a file."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from gradclip.config.composition import compose_config
from gradclip.config.schema import TrainConfig
from gradclip.stacked.replicas import make_replicas
from gradclip.stacked.training import StackedTraining, keep_freed_memory
from gradclip.sweep.stacking import group
from gradclip.tracking.files import write_whole
from gradclip.training.job import Job
from gradclip.training.outcome import Summary

Settings = tuple[str, ...]  # overrides
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Trials:
    """Results of settings over several seeds.

    Attributes:
        choosing: error of each seed on the rows that choose, where lower is better; infinite if the run diverged.
        test: error of each seed on the test rows.
        outcomes: outcome of each seed.
        split: the rows that choose, ``validation`` or ``test``.
        score: ``mse`` or ``accuracy``.
    """

    choosing: Sequence[float]
    test: Sequence[float]
    outcomes: Sequence[str]
    split: str
    score: str


class Laboratory:
    """Trains settings over seeds, and caches the results in a file, which several processes may share.

    Args:
        seeds: seeds of each training run.
        path: path of the file.
    """

    def __init__(self, seeds: range, path: Path) -> None:
        self.seeds, self.path = seeds, path
        self._known = self._read()

    def train(self, settings: Sequence[Settings]) -> list[Trials]:
        """Return the results of settings; those that are not in the file are trained, stacked if possible."""
        if unknown := [one for one in dict.fromkeys(settings) if self._key(one) not in self._known]:
            new = {self._key(one): trials for one, trials in train_settings(unknown, self.seeds).items()}
            self._known |= self._read() | new
            write_whole(self.path, json.dumps({key: asdict(trials) for key, trials in self._known.items()}))
        return [self._known[self._key(one)] for one in settings]

    def _key(self, settings: Settings) -> str:
        return " ".join([*settings, f"seed={self.seeds}"])

    def _read(self) -> dict[str, Trials]:
        stored = json.loads(self.path.read_text()) if self.path.exists() else {}
        return {key: Trials(**trials) for key, trials in stored.items()}


def train_settings(settings: Sequence[Settings], seeds: range) -> Mapping[Settings, Trials]:
    """Train settings over seeds, stacked if possible.

    Args:
        settings: overrides of each training run.
        seeds: seeds of each training run.
    """
    keep_freed_memory()
    composed = {one: compose_config(one) for one in settings}
    jobs = [
        Job(config.model_copy(update={"seed": seed}), one, Path()) for one, config in composed.items() for seed in seeds
    ]
    summaries: dict[Settings, dict[int, Summary]] = defaultdict(dict)
    for some in group(jobs):
        for index, summary in _stacked([job.config for job in some]):
            summaries[some[index].overrides][some[index].config.seed] = summary
    return {one: _trials([summaries[one][seed] for seed in seeds]) for one in settings}


def _stacked(configs: Sequence[TrainConfig]) -> Iterator[tuple[int, Summary]]:
    training = StackedTraining(make_replicas(configs), CPU)
    for ended in training.run():
        for index, result in ended:
            yield index, result.summary


def _trials(summaries: Sequence[Summary]) -> Trials:
    score, metrics = summaries[0].score, [summary.metrics() for summary in summaries]
    split = score.choosing_split(metrics[0])
    final = score.final(split)
    choosing, test = ([_error(score.error(one[name])) for one in metrics] for name in (final, score.final("test")))
    return Trials(choosing, test, [summary.outcome for summary in summaries], split, score.name)


def _error(value: float) -> float:
    return value if math.isfinite(value) else math.inf
