"""The page on private API lists exactly the private names that the project uses, and the files that use them."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs/private-api.md").read_text()
ROWS = re.findall(r"^\| (`[^|]+) \| (`[^|]+) \|[^|]+\|[^|]+\| (`[^|]+) \|$", PAGE, flags=re.MULTILINE)
LIBRARIES = {"hydra", "lightning_fabric", "mlflow", "omegaconf", "pytorch_lightning", "pytest", "torch", "torchmetrics"}
STANDARD = {"atexit", "multiprocessing", "os", "threading"}
OURS = {"self", "cls", "super()"}
PUBLIC = {"._asdict", "._replace", "._fields", "os._exit"}  # documented despite the underscore
INTERNAL = (  # undocumented, although without an underscore
    "hydra.core.config_loader", "hydra.core.override_parser", "hydra.core.singleton", "hydra.core.utils",
    "mlflow.data.dataset_source_registry", "mlflow.store", "mlflow.system_metrics.system_metrics_monitor",
    "mlflow.telemetry", "mlflow.tracking.context", "mlflow.utils",
    "lightning_fabric.utilities.exceptions", "multiprocessing.util",
)  # fmt: skip


def private_names(code: str) -> Iterator[str]:
    """Yield the private names of other projects in a module: dotted if a library has them, else as ``.name``.

    Example:
        >>> sorted(private_names("from torch._C import a; import torch; torch._b(self._c, run.data._d)"))
        ['._d', 'torch._C.a', 'torch._b']
    """
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from filter(_is_private, (f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr):
            owner = ast.unparse(node.value)
            if owner not in OURS:
                yield f"{owner}.{node.attr}" if owner.partition(".")[0] in LIBRARIES | STANDARD else f".{node.attr}"


def _is_private(name: str) -> bool:
    library, *parts = name.split(".")
    return library in LIBRARIES | STANDARD and (
        any(re.match(r"_[^_]", part) for part in parts) or name.startswith(tuple(f"{module}." for module in INTERNAL))
    )


def uses() -> dict[str, set[str]]:
    """Return each private name of another project with the files that use it."""
    files = {path: path.read_text() for folder in ("src", "tests") for path in (ROOT / folder).rglob("*.py")}
    own = {f".{name}" for code in files.values() for name in re.findall(r"(?:def |self\.)(_\w+)", code)}
    found = defaultdict(set)
    for path, code in files.items():
        for name in set(private_names(code)) - own - PUBLIC:
            found[name].add(str(path.relative_to(ROOT)))
    return dict(found)


def in_backticks(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_page_lists_exactly_the_names_in_use() -> None:
    used = uses()
    assert sorted(name for names, *_ in ROWS for name in in_backticks(names)) == sorted(used)
    for names, files, _ in ROWS:
        assert set(in_backticks(files)) == set().union(*(used[name] for name in in_backticks(names))), names


@pytest.mark.parametrize("path", sorted({path for _, _, tests in ROWS for path in in_backticks(tests)}))
def test_the_tests_named_on_the_page_exist(path: str) -> None:
    assert Path(ROOT, path).is_file()
