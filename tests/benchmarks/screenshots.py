"""Screenshots of the MLflow UI for docs/mlflow.md: ``python -m tests.benchmarks.screenshots`` (needs Chromium)."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradclip import keys
from gradclip.program import PROJECT_ROOT
from gradclip.tracking.views import view_address
from tests.support.browser import Browser, open_browser
from tests.support.mlflow_server import serve

RUNS = (
    ("clip=none", "figures=false"),
    ("-m", "clip=norm,value", "clip.value=1,5", "seed=0,1", "figures=false", "log_model=false"),
)
CALM = """document.querySelector("[aria-label='Hide banner']").click()
document.head.append(Object.assign(document.createElement('style'), {textContent: '.modebar {display: none}'}))"""
DRAWING_TIME = 3.0  # seconds until charts stop moving


def main() -> None:
    """Train the runs, serve the store, and take the screenshots."""
    with tempfile.TemporaryDirectory() as name:
        for overrides in RUNS:
            train(Path(name), *overrides)
        with serve(Path(name)) as server, open_browser() as browser:
            runs = view_address(server, "1")
            charts = f"{runs}&compareRunsMode=CHART"
            take(browser, "runs", runs, 820, browser.rows)
            take(browser, "charts", charts, 1240, lambda: keys.GRAD_COEFFICIENT in browser.curves())


def train(folder: Path, *overrides: str) -> None:
    """Train into a store that only the screenshots use."""
    store = (f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.artifacts={folder}/artifacts")
    folders = (f"hydra.run.dir={folder}/run", f"hydra.sweep.dir={folder}/multirun")
    command = [sys.executable, str(PROJECT_ROOT / "src" / "train.py"), *overrides, *store, *folders]
    subprocess.run(command, check=True)


def take(browser: Browser, name: str, address: str, height: int, is_ready: Callable[[], Any]) -> None:
    """Save a screenshot of a page without its banner and tool bars."""
    browser.driver.set_window_size(1500, height)
    browser.open(address)
    browser.wait(is_ready)
    browser.run(CALM)
    time.sleep(DRAWING_TIME)
    path = PROJECT_ROOT / "docs" / f"mlflow_{name}.png"
    browser.driver.save_screenshot(str(path))
    print(path, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
