"""The quick loader composes the same configs as Hydra's loader."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ReadonlyConfigError

from gradclip.config.paths import CONFIG_FOLDER, register_resolvers
from gradclip.config.validation import validate
from gradclip.sweep.composition import QuickLoader

JOBS = [
    ("clip=norm", "clip.value=1", "seed=3"),
    ("clip=norm", "clip.value=2.5", "optimizer.lr=1e-3"),
    ("clip=value", "clip.value=1"),
    ("+experiment=huber_loss", "seed=2"),
    ("clip=none", "model.widths=[3,4]", "figures=false"),
    ("data=adding", "data.length=20", "model.hidden_size=4", "clip.value=null"),
    ("model._target_=torch.nn.Linear", "+model.bias=false"),
    ("clip=norm", "data.features={a:1,b:2}"),
    ("clip=norm", "data.features={a:3}"),
    ("clip=norm", "+model.bias=${seed}", "seed=4"),
    ("clip=norm", "+model.bias=${seed}", "seed=5"),
    ("clip=norm", "clip.value=${seed}", "seed=4"),
    ("clip=norm", "clip.value=${seed}", "seed=5"),
]


def test_the_quick_loader_composes_the_same_configs_as_hydra() -> None:
    with loaders() as (real, quick, master):
        for job in JOBS * 2:
            expected, made = real.load_sweep_config(master, list(job)), quick.load_sweep_config(master, list(job))
            assert _plain(made) == _plain(expected)
        with pytest.raises(HydraException, match=r"Could not override 'clip\.valu'"):
            quick.load_sweep_config(master, ["clip=norm", "clip.valu=1"])


def test_jobs_have_their_own_settings_and_cannot_change_the_shared_config() -> None:
    with loaders() as (_, quick, master):
        first, second = (
            validate(quick.load_sweep_config(master, ["clip=norm", f"clip.value={value}"])) for value in (1, 2)
        )
        shared = quick.load_sweep_config(master, ["clip=norm", "clip.value=3"])
    assert [settings.clip.label for settings in (first, second)] == ["norm=1.0", "norm=2.0"]
    with pytest.raises(ReadonlyConfigError):
        shared.clip.value = 4


@contextmanager
def loaders() -> Iterator[tuple[Any, QuickLoader, DictConfig]]:
    """Yield Hydra's loader, the quick loader, and the config of a multirun."""
    register_resolvers()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        real = GlobalHydra.instance().config_loader()
        yield real, QuickLoader(real), real.load_configuration("train", [], RunMode.MULTIRUN)


def _plain(config: DictConfig) -> object:
    ours = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return OmegaConf.to_container(ours, resolve=True)
