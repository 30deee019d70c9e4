"""Settings of the options under ``conf/data``."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gradclip.config.base import Count, Fraction, NonNegativeNumber, OwnClass, Seed, Settings, Size
from gradclip.config.limits import MAX_VALUES

Scaling = Literal["none", "standard", "minmax"]


class RegressionData(Settings):
    name: Literal["regression"]
    samples: Annotated[int, Field(ge=4, le=MAX_VALUES)]
    features: Size
    noise: NonNegativeNumber
    random_state: Seed
    test_fraction: Fraction
    scale_inputs: Scaling
    scale_target: Scaling

    @model_validator(mode="after")
    def _fits_memory(self) -> "RegressionData":
        if self.samples * self.features > MAX_VALUES:
            raise ValueError(f"samples: got {self.samples}; times data.features it must be at most {MAX_VALUES}")
        return self


class DiabetesData(Settings):
    name: Literal["diabetes"]
    test_fraction: Fraction
    split_seed: Seed
    scale_inputs: Scaling
    scale_target: Scaling


def _check_table_path(path: str) -> str:
    if not path.endswith((".csv", ".parquet")):
        raise PydanticCustomError("table", "must end in .csv or .parquet")
    return path


TablePath = Annotated[str, AfterValidator(_check_table_path)]
Column = Annotated[str, Field(coerce_numbers_to_str=True)]  # some tables have numbers as column names


class TableData(Settings):
    name: Literal["table"]
    path: TablePath
    target: Column
    features: list[Column] | None
    categorical: list[Column]
    test_fraction: Fraction
    split_seed: Seed
    scale_inputs: Scaling
    scale_target: Scaling


class SeriesSettings(Settings):
    name: Literal["series"]
    path: TablePath
    target: Column
    time: Column
    features: list[Column] | None
    group: Column | None
    window: Size
    horizon: Size
    test_fraction: Fraction
    allow_gaps: bool
    scale_inputs: Scaling
    scale_target: Scaling


class TaskSettings(Settings):
    """Settings that all synthetic sequence tasks have."""

    name: str
    length: Size
    steps_per_epoch: Count
    train_sequences: Size | None
    test_sequences: Annotated[int, Field(ge=100, le=MAX_VALUES, multiple_of=100)]

    @model_validator(mode="after")
    def _fits_memory(self) -> "TaskSettings":
        for name in ("train_sequences", "test_sequences"):
            if (getattr(self, name) or 0) * self.length > MAX_VALUES:
                raise ValueError(
                    f"{name}: got {getattr(self, name)}; times data.length it must be at most {MAX_VALUES}"
                )
        return self


class NumberTask(TaskSettings):
    name: Literal["adding", "multiplication"]
    solved_at: NonNegativeNumber


class ClassTask(TaskSettings):
    solved_at: Annotated[float, Field(gt=0, le=1)]


class TemporalOrderTask(ClassTask):
    name: Literal["temporal_order"]
    symbols: Literal[2, 3]


class RandomPermutationTask(ClassTask):
    name: Literal["random_permutation"]


class RecallTask(ClassTask):
    name: Literal["noiseless_memorization", "copy"]
    values: Annotated[int, Field(ge=2, le=10_000)]
    positions: Size

    @model_validator(mode="after")
    def _symbols_fit_memory(self) -> "RecallTask":
        numbers = (self.length + 2 * self.positions) * (self.values + 2)  # of a sequence, one-hot
        for name in ("train_sequences", "test_sequences"):
            if (getattr(self, name) or 0) * numbers > 10 * MAX_VALUES:
                allowed = f"times the {numbers} numbers of each it must be at most {10 * MAX_VALUES}"
                raise ValueError(f"{name}: got {getattr(self, name)}; {allowed}")
        return self


class OwnData(OwnClass):
    name: Literal["own"]


DataSettings = (
    RegressionData
    | DiabetesData
    | TableData
    | SeriesSettings
    | NumberTask
    | TemporalOrderTask
    | RandomPermutationTask
    | RecallTask
    | OwnData
)
