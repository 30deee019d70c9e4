"""Settings of the options under ``conf/model``."""

from collections.abc import Mapping
from operator import mul
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from gradclip.config.base import FractionOrZero, OwnClass, PositiveNumber, Settings, Size
from gradclip.config.limits import MAX_VALUES

Initialization = Literal["he_uniform", "he_normal", "glorot_uniform", "glorot_normal", "lecun_normal", "pytorch"]


class MLPModel(Settings):
    """A multilayer perceptron."""

    target: Literal["gradclip.models.mlp.MLP"] = Field(alias="_target_")
    widths: Annotated[list[Size], Field(max_length=1000)]
    activation: Literal["relu", "tanh", "sigmoid", "elu", "gelu", "silu"]
    initialization: Initialization
    output_initialization: Initialization

    @model_validator(mode="after")
    def _fits_memory(self) -> "MLPModel":
        if sum(map(mul, self.widths, self.widths[1:])) > MAX_VALUES:
            raise ValueError(f"widths: got {self.widths}; the layers must have at most {MAX_VALUES} weights")
        return self


class RecurrentModel(Settings):
    """Settings common to all recurrent networks."""

    hidden_size: Size
    layers: Annotated[int, Field(ge=1, le=1000)]
    dropout: FractionOrZero
    truncation: Size | None

    @model_validator(mode="after")
    def _fits_memory(self) -> "RecurrentModel":
        if self.layers * self.hidden_size**2 > MAX_VALUES:
            what = f"its square times model.layers must be at most {MAX_VALUES}"
            raise ValueError(f"hidden_size: got {self.hidden_size}; {what}")
        return self

    @model_validator(mode="after")
    def _dropout_needs_layers(self) -> "RecurrentModel":
        if self.dropout and self.layers == 1:
            raise ValueError(f"dropout: got {self.dropout}; it acts between layers, and model.layers is 1")
        return self


class RNNModel(RecurrentModel):
    """A plain recurrent network."""

    target: Literal["gradclip.models.recurrent.RNN"] = Field(alias="_target_")
    nonlinearity: Literal["tanh", "relu"]
    initialization: Literal["sigmoid", "basic_tanh", "smart_tanh", "identity", "pytorch"]
    identity_scale: PositiveNumber
    weight_deviation: PositiveNumber | None


class GatedModel(RecurrentModel):
    """An LSTM or a GRU."""

    target: Literal["gradclip.models.recurrent.LSTM", "gradclip.models.recurrent.GRU"] = Field(alias="_target_")


MODEL_KINDS = {
    "gradclip.models.mlp.MLP": "mlp",
    "gradclip.models.recurrent.RNN": "rnn",
    "gradclip.models.recurrent.LSTM": "gated",
    "gradclip.models.recurrent.GRU": "gated",
}


def _model_kind(model: Any) -> str:
    target = model.get("_target_") if isinstance(model, Mapping) else model.target
    return MODEL_KINDS.get(str(target), "custom")


ModelSettings = Annotated[
    Annotated[MLPModel, Tag("mlp")]
    | Annotated[RNNModel, Tag("rnn")]
    | Annotated[GatedModel, Tag("gated")]
    | Annotated[OwnClass, Tag("custom")],
    Discriminator(_model_kind),
]
