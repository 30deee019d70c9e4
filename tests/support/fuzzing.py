"""Random and malformed settings and data files, and the error lines that they produce."""

import json
import random
import string
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from gradclip.cli.arguments import check_arguments
from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.paths import CONFIG_FOLDER, register_resolvers
from gradclip.config.schema import TrainConfig
from gradclip.config.validation import setting_names, validate
from gradclip.training.components import build_components

ODD = (
    *("", "null", "nan", "inf", "-inf", "-1", "0", "1", "2", "0.5", "1e400", "1e-400", "true", "abc", "None", "[]"),
    *("[1,2]", "[a", "{", "{a:1}", "''", '"', "${nope}", "${oc.env:NOPE}", "???", "ä→🙂", "a=b", "../../x", "1_0"),
    *("*", "\\", "torch.nn.Linear", "os.system", "norm", "mse", "2020-01-01", "7" * 40, " ", "a b", "%s", "$(id)"),
    *("0x10", "!!python/none", "1e308", "-1e308", "3.4e38", "1e-320", "-0.0", "{}", "' '", "'🙂'", "'a%b'", "{a%b:1}"),
    *(str(2**31), str(2**32), str(2**63), "9" * 20, "9" * 5000, "100000000000000", "x" * 600, "x" * 100_000),
    *("'a\nb'", "a\nb", "'a\0b'", "'\x1b[2J'", "'\udcff'", "[" * 500 + "]" * 500, "{a:" * 30 + "1" + "}" * 30),
    *("range(1,5,0)", "range(0)", "choice()", "interval(1,0)", "glob(*)", "${.}", "${hydra:run.dir}"),
)
GROUPS = ("clip", "loss", "optimizer", "schedule", "threshold", "model", "data")
SMALL = ("trainer.max_epochs=1", "trainer.progress_bar=false", "figures=false", "log_model=false")
UNTRACKED = ("tracking=none",)
HUGE = ("trainer.devices", "trainer.accelerator", "trainer.strategy")  # odd values would start other processes


def fuzzed_line(source: random.Random) -> list[str]:
    """Return one to three overrides; half of the lines are plausible, the others have odd names and values."""
    override = source.choice([_fitting, _odd])
    return [override(source) for _ in range(source.randint(1, 3))]


def _fitting(source: random.Random) -> str:
    """Return an option of a group, or a setting of the default run with a similar value."""
    if source.random() < 0.5:
        group = source.choice(GROUPS)
        return f"{group}={source.choice(sorted(path.stem for path in (CONFIG_FOLDER / group).glob('*.yaml')))}"
    name, value = source.choice(sorted(_defaults().items()))
    if isinstance(value, bool):
        return f"{name}={str(not value).lower()}"
    if isinstance(value, int | float):
        return f"{name}={value * source.choice([1, 2])}"
    return f"{name}={json.dumps(value)}"


@cache
def _defaults() -> dict[str, Any]:
    """Return the settings of the default run by dotted name."""
    register_resolvers()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        groups = OmegaConf.to_container(compose("train", list(SMALL)), resolve=True)
    return {
        f"{group}.{name}": value
        for group, settings in groups.items()
        if isinstance(settings, dict) and group != "tracking"
        for name, value in settings.items()
        if name not in {"strategy", "accelerator", "devices"}
    }


def _odd(source: random.Random) -> str:
    known = [name for name in setting_names() if name not in HUGE]
    name = source.choice([source.choice(known), source.choice(known), source.choice(GROUPS), _word(source)])
    if source.random() < 0.15:
        place = source.randrange(len(name) + 1)
        name = name[:place] + source.choice(string.printable.strip()) + name[place:]
    prefix, equals = source.choice(["", "", "", "+", "++", "~"]), source.choice(["=", "=", "=", "=", ""])
    return f"{prefix}{name}{equals}{source.choice(ODD)}"


def _word(source: random.Random) -> str:
    return "".join(source.choice(string.ascii_letters + "._@:/-") for _ in range(source.randint(1, 8)))


def attempt(
    overrides: list[str],
    folder: Path,
    tracking: Sequence[str] = UNTRACKED,
    act: Callable[[TrainConfig, Path], Any] = build_components,
) -> str:
    """Build the components of a run as the command does, and return its error line, or "" if it would train.

    Any other exception is raised: the command would print a traceback.

    Args:
        overrides: as typed on the command line.
        folder: folder of the run.
        tracking: overrides of the tracking settings.
        act: called with valid settings, to build or to train.
    """
    register_resolvers()
    try:
        check_arguments(overrides, "train")
        with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
            config = validate(compose("train", [*SMALL, *overrides, *tracking]))
        act(config, folder)
    except USER_ERRORS as error:
        line = describe(error)
    else:
        return ""
    assert line
    assert "\n" not in line, line
    return line


GOOD = "x,city,y\n" + "".join(f"{row},{'ab'[row % 2]},{row * row}\n" for row in range(200))


def malformed_files() -> dict[str, bytes]:
    """Return tables that have one defect each, by defect."""
    lines = GOOD.splitlines(keepends=True)
    by_hand = {
        "empty": b"",
        "blank": b"\n\n\n",
        "header": lines[0].encode(),
        "no header": "".join(lines[1:]).encode(),
        "one row": "".join(lines[:2]).encode(),
        "few rows": "".join(lines[:9]).encode(),
        "ragged": "".join([*lines[:5], "1,a,2,3,4\n", *lines[5:]]).encode(),
        "short row": "".join([*lines[:5], "1\n", *lines[5:]]).encode(),
        "cut off": GOOD.encode()[:-4],
        "open quote": GOOD.replace("3,b", '3,"b', 1).encode(),
        "semicolons": GOOD.replace(",", ";").encode(),
        "tabs": GOOD.replace(",", "\t").encode(),
        "decimal commas": GOOD.replace("4\n", '"4,5"\n').encode(),
        "utf-16": GOOD.encode("utf-16"),
        "latin-1": GOOD.replace("a", "ä").encode("latin-1"),
        "mark of utf-8": GOOD.encode("utf-8-sig"),
        "zeros": b"\0" * 500,
        "zeros within": GOOD.encode().replace(b"5,b", b"\0,b", 1),
        "noise": random.Random(0).randbytes(2000),
        "parquet's mark": b"PAR1" + b"\0" * 100 + b"PAR1",
        "a zip": b"PK\x03\x04" + b"\0" * 100,
        "html": b"<!DOCTYPE html><html><body>404</body></html>",
        "json": b'{"x": [1, 2], "y": [3, 4]}',
        "twice the same column": GOOD.replace("x,city,y", "y,city,y").encode(),
        "no name": GOOD.replace("x,city", ",city").encode(),
        "dots": GOOD.replace("x,city", "a.b=c,city").encode(),
        "missing target": GOOD.replace("x,city,y", "x,city,z").encode(),
        "text in target": GOOD.replace("400\n", "four\n").encode(),
        "gap in target": GOOD.replace("400\n", "\n").encode(),
        "infinite": GOOD.replace("400\n", "inf\n").encode(),
        "overflow": GOOD.replace("400\n", "1e400\n").encode(),
        "nearly overflow": GOOD.replace("400\n", "1e300\n").encode(),
        "long whole number": GOOD.replace("400\n", f"{'9' * 400}\n").encode(),
        "all gaps": ("x,city,y\n" + ",,\n" * 60).encode(),
        "constant": ("x,city,y\n" + "1,a,2\n" * 60).encode(),
        "dates": ("x,city,y\n" + "2020-01-01,a,2\n2020-01-02,b,3\n" * 30).encode(),
        "bools": ("x,city,y\n" + "True,a,False\nFalse,b,True\n" * 30).encode(),
        "complex": ("x,city,y\n" + "1+2j,a,2\n3,b,3\n" * 30).encode(),
        "carriage returns": GOOD.replace("\n", "\r").encode(),
        "a very long line": ("x,city,y\n" + "1," + "a" * 100_000 + ",2\n").encode(),
        "many columns": (",".join(f"c{n}" for n in range(3000)) + ",y\n").encode(),
    }  # fmt: skip
    return by_hand | {f"flipped {seed}": _flip(GOOD.encode(), random.Random(seed)) for seed in range(60 - len(by_hand))}


def _flip(content: bytes, source: random.Random) -> bytes:
    broken = bytearray(content)
    for _ in range(source.randint(1, 30)):
        broken[source.randrange(len(broken))] = source.randrange(256)
    return bytes(broken)


def table_overrides(path: Path, source: random.Random) -> list[str]:
    """Return random settings that read a table; with :data:`GOOD` they all train."""
    table = ["data=table", f"data.path={path}", "data.target=y"]
    series = ["data=series", f"data.path={path}", "data.target=y", "data.window=4", "data.time=x", "data.features=[y]"]
    return source.choice([[*table, "data.categorical=[city]"], [*table, "data.features=[x]"], series])
