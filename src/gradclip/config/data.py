"""Settings of the options under ``conf/data``."""

import os
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gradclip.config.base import Count, Fraction, NonNegativeNumber, OwnClass, Seed, Settings, Share, Size
from gradclip.config.limits import MAX_VALUES

Scaling = Literal["none", "standard", "minmax"]
ClassWeights = Literal["none", "balanced"]
SEQUENCES = ("train_sequences", "test_sequences", "validation_sequences")
TABLE_FILE = re.compile(r"\.(csv|tsv|txt)(\.(gz|bz2|xz))?$|\.(parquet|pq)$")


class RegressionData(Settings):
    """Settings of the tutorial's table, made by scikit-learn."""

    name: Literal["regression"]
    samples: Annotated[int, Field(ge=4, le=MAX_VALUES)]
    features: Size
    noise: NonNegativeNumber
    random_state: Seed
    test_fraction: Fraction
    validation_fraction: Share = 0.0  # of runs that are older than the setting
    scale_inputs: Scaling
    scale_target: Scaling

    @model_validator(mode="after")
    def _fits_memory(self) -> "RegressionData":
        if self.samples * self.features > MAX_VALUES:
            raise ValueError(f"samples: got {self.samples}; times data.features it must be at most {MAX_VALUES}")
        return self


class DiabetesData(Settings):
    """Settings of the diabetes data set of scikit-learn."""

    name: Literal["diabetes"]
    test_fraction: Fraction
    validation_fraction: Share = 0.0
    split_seed: Seed
    scale_inputs: Scaling
    scale_target: Scaling


class WineData(Settings):
    """Settings of the wine data set of scikit-learn, three classes."""

    name: Literal["wine"]
    class_weights: ClassWeights
    test_fraction: Fraction
    validation_fraction: Share = 0.0
    split_seed: Seed
    scale_inputs: Scaling


def _check_table_path(path: str) -> str:
    expanded = os.path.expanduser(path)
    if not TABLE_FILE.search(expanded) and not _is_folder(expanded):
        raise PydanticCustomError(
            "table",
            "must end in .csv, .tsv, .txt (or these with .gz, .bz2 or .xz) or .parquet, or be a folder of those",
        )
    return expanded


def _is_folder(path: str) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:  # of a NUL
        return False


def _check_encoding(name: str) -> str:
    try:
        "".encode("utf-8" if name == "auto" else name)
    except (LookupError, ValueError) as error:  # a ValueError of a NUL
        rule = "must be auto or an encoding that Python knows, such as cp1250"
        raise PydanticCustomError("encoding", rule) from error
    return name


TablePath = Annotated[str, AfterValidator(_check_table_path)]
Encoding = Annotated[str, AfterValidator(_check_encoding)]
Column = Annotated[str, Field(coerce_numbers_to_str=True)]  # some tables have numbers as column names


class FileForm(Settings):
    """Where a user's file is and how it is written; settings with a default are not in the configs of older runs."""

    path: TablePath
    delimiter: Literal["auto", "comma", "semicolon", "tab", "pipe", "space"] = "auto"
    decimal: Literal["auto", "point", "comma"] = "auto"
    encoding: Encoding = "auto"


class FileSettings(FileForm):
    """Settings that all data in a user's file have."""

    target: Column
    features: list[Column] | None
    exclude: Annotated[list[Column], Field(default_factory=list)]
    test_fraction: Fraction
    validation_fraction: Share = 0.0
    scale_inputs: Scaling
    scale_target: Scaling


class TableData(FileSettings):
    """Settings of a table of the user's, one row per example."""

    name: Literal["table"]
    task: Literal["auto", "regression", "classification"] = "auto"
    categorical: list[Column]
    missing: Literal["refuse", "drop", "median"] = "refuse"
    class_weights: ClassWeights = "none"
    stratify: bool = True
    split_seed: Seed


class SeriesSettings(FileSettings):
    """Settings of time series of the user's, one row per time step."""

    name: Literal["series"]
    time: Column
    group: Column | None
    window: Size
    horizon: Size
    allow_gaps: bool
    day_first: bool | None = None


class TaskSettings(Settings):
    """Settings that all synthetic sequence tasks have."""

    name: str
    length: Size
    steps_per_epoch: Count
    train_sequences: Size | None
    validation_sequences: Annotated[int, Field(ge=0, le=MAX_VALUES, multiple_of=100)] = 0
    test_sequences: Annotated[int, Field(ge=100, le=MAX_VALUES, multiple_of=100)]

    @model_validator(mode="after")
    def _fits_memory(self) -> "TaskSettings":
        for name in SEQUENCES:
            if (getattr(self, name) or 0) * self.length > MAX_VALUES:
                raise ValueError(
                    f"{name}: got {getattr(self, name)}; times data.length it must be at most {MAX_VALUES}"
                )
        return self


class NumberTask(TaskSettings):
    """Settings of the tasks that predict a number from a sequence."""

    name: Literal["adding", "multiplication"]
    solved_at: NonNegativeNumber


class ClassTask(TaskSettings):
    """Settings of the tasks that predict classes from a sequence; ``solved_at`` is an accuracy."""

    solved_at: Annotated[float, Field(gt=0, le=1)]


class TemporalOrderTask(ClassTask):
    """Settings of the task to tell the order of symbols."""

    name: Literal["temporal_order"]
    symbols: Literal[2, 3]


class RandomPermutationTask(ClassTask):
    """Settings of the task to predict a symbol from the first of a random sequence."""

    name: Literal["random_permutation"]


class RecallTask(ClassTask):
    """Settings of the tasks to repeat symbols after a long time."""

    name: Literal["noiseless_memorization", "copy"]
    values: Annotated[int, Field(ge=2, le=10_000)]
    positions: Size

    @model_validator(mode="after")
    def _symbols_fit_memory(self) -> "RecallTask":
        numbers = (self.length + 2 * self.positions) * (self.values + 2)  # of a sequence, one-hot
        for name in SEQUENCES:
            if (getattr(self, name) or 0) * numbers > 10 * MAX_VALUES:
                allowed = f"times the {numbers} numbers of each it must be at most {10 * MAX_VALUES}"
                raise ValueError(f"{name}: got {getattr(self, name)}; {allowed}")
        return self


class OwnData(OwnClass):
    """A data module of the user's: its class and arguments."""

    name: Literal["own"]


DataSettings = (
    RegressionData
    | DiabetesData
    | WineData
    | TableData
    | SeriesSettings
    | NumberTask
    | TemporalOrderTask
    | RandomPermutationTask
    | RecallTask
    | OwnData
)
