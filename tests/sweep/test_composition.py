"""Configs composed quickly are those that Hydra composes."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gradclip.config.paths import CONFIG_FOLDER, register_resolvers
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


def test_quick_and_real_configs_are_equal() -> None:
    register_resolvers()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        real = GlobalHydra.instance().config_loader()
        master = real.load_configuration("train", [], RunMode.MULTIRUN)
        quick = QuickLoader(real)
        for job in JOBS * 2:
            expected, made = real.load_sweep_config(master, list(job)), quick.load_sweep_config(master, list(job))
            assert _plain(made) == _plain(expected)
        with pytest.raises(HydraException, match=r"Could not override 'clip\.valu'"):
            quick.load_sweep_config(master, ["clip=norm", "clip.valu=1"])


def _plain(config: DictConfig) -> object:
    ours = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return OmegaConf.to_container(ours, resolve=True)
