"""Overrides of the command: those that make a run again, and what advice changes in them."""

import shlex
from collections.abc import Mapping, Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from gradclip import keys
from gradclip.config.help import overridden_options
from gradclip.config.paths import CONFIG_FOLDER, register_resolvers
from gradclip.config.serialization import flatten
from gradclip.config.validation import validate
from gradclip.errors import ConfigError, first_line
from gradclip.tracking.stored_runs import StoredRun

INCIDENTAL = ("seed", "tracking", "hydra", "figures", "log_model", "trainer.progress_bar")
MOST_LISTED = 5  # seeds, each by itself


def base_overrides(run: StoredRun) -> list[str]:
    """The overrides that make a run again, without seed and store: as typed, and what a sweep added.

    Raises:
        ConfigError: the run cannot be made again with the configs as they are now.
    """
    typed = [text for text in shlex.split(run.tags.get(keys.COMMAND, ""))[2:] if not _is_incidental(text)]
    sweeps = [text.partition("=")[2] for text in typed if text.startswith("+sweep=")]
    files = [CONFIG_FOLDER / "sweep" / f"{name}.yaml" for name in sweeps]
    chosen = [choice for file in files for choice in overridden_options(file).items()]
    kept = merge([f"{group}={option}" for group, option in chosen], [text for text in typed if "sweep=" not in text])
    made = parameters_of(kept)
    swept = {name: value for name, value in run.parameters.items() if made.get(name) != value and name in made}
    return merge(kept, [f"{name}={value}" for name, value in swept.items() if not _is_incidental(f"{name}=")])


def parameters_of(overrides: Sequence[str]) -> dict[str, str]:
    """Every setting of the run that some overrides make, by its dotted name.

    Raises:
        ConfigError: they do not compose.
    """
    register_resolvers()
    GlobalHydra.instance().clear()  # that of the command which is running
    try:
        with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
            return flatten(validate(compose("train", [*overrides, "tracking=none"])))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"run: its command cannot be composed any more: {first_line(error)}") from error


def merge(base: Sequence[str], changes: Sequence[str]) -> list[str]:
    """Put changes in place of what they change; a group that is chosen anew loses its old settings.

    Example:
        >>> merge(["data=diabetes", "clip=value", "clip.value=5"], ["clip=norm", "clip.value=2"])
        ['data=diabetes', 'clip=norm', 'clip.value=2']
        >>> merge(["clip=norm", "clip.value=5"], ["clip.value=2"])
        ['clip=norm', 'clip.value=2']
    """
    names = {_name(change) for change in changes}
    groups = {name for name in names if "." not in name}
    kept = [text for text in base if _name(text) not in names and _name(text).partition(".")[0] not in groups]
    return [*kept, *changes]


def command(overrides: Sequence[str], seeds: range = range(0)) -> str:
    """The line to type.

    Example:
        >>> command(["clip=norm", "clip.value=2"], seeds=range(2))
        'python src/train.py -m clip=norm clip.value=2 seed=0,1'
    """
    many = ["-m"] if seeds else []
    return shlex.join(["python", "src/train.py", *many, *overrides, *seed_override(seeds)])


def seed_override(seeds: range) -> list[str]:
    """The seeds of a multirun, where there are any.

    Example:
        >>> seed_override(range(1000, 1020))
        ['seed=range(1000,1020)']
    """
    if len(seeds) > MOST_LISTED:
        return [f"seed=range({seeds.start},{seeds.stop})"]
    return [f"seed={','.join(map(str, seeds))}"] if seeds else []


def settings(changes: Mapping[str, object]) -> list[str]:
    """Overrides from names and values."""
    return [f"{name}={value}" for name, value in changes.items()]


def _is_incidental(text: str) -> bool:
    name = _name(text)
    return any(name == part or name.startswith(f"{part}.") for part in INCIDENTAL)


def _name(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]
