"""Headless Chromium that opens MLflow's pages, for tests and screenshots."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
TIMEOUT = 300  # seconds to wait for the content of a page; the machine may be busy
ROWS = """return [...document.querySelectorAll('.ag-center-cols-container .ag-row')].map(row => {
  const names = document.querySelector(`.ag-pinned-left-cols-container [row-id="${row.getAttribute('row-id')}"]`)
  const cells = [...names.querySelectorAll('[col-id]'), ...row.querySelectorAll('[col-id]')]
  return Object.fromEntries(cells.map(cell => [cell.getAttribute('col-id'), cell.innerText.trim()]))
})"""
CURVES = """return Object.fromEntries([...document.querySelectorAll('.js-plotly-plot')].map(plot => {
  const card = plot.closest('[data-testid=experiment-view-compare-runs-card]')
  const curves = plot.data.filter(curve => curve.type != 'bar').map(curve => [curve.name, [...curve.y]])
  return [card.innerText.split('\\n')[0], Object.fromEntries(curves)]
}))"""


class Browser:
    """A browser window with the queries and actions that tests and screenshots need.

    Args:
        driver: Selenium's driver.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        """Load a page from scratch; MLflow changes its pages without loading them."""
        self.driver.get("about:blank")
        self.driver.get(address)

    def run(self, script: str) -> Any:
        """Run JavaScript in the page."""
        return self.driver.execute_script(script)

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition is true and return its value; errors are ignored while the page is being drawn."""
        waiting = WebDriverWait(self.driver, TIMEOUT, ignored_exceptions=(WebDriverException, IndexError))
        return waiting.until(lambda _: condition())

    def text(self) -> str:
        """Return all visible text of the page."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def wait_for(self, *texts: str) -> None:
        """Wait until the page shows all texts; line breaks in the page count as spaces."""
        self.wait(lambda: all(text in " ".join(self.text().split()) for text in texts))

    def find(self, text: str) -> WebElement:
        """Wait for an element with exactly this text and return the last one."""
        return self.wait(lambda: self._elements(text)[-1])

    def click(self, text: str) -> None:
        """Click the last element with exactly this text as soon as it is clickable."""
        self.wait(lambda: self._elements(text)[-1].click() or True)

    def _elements(self, text: str) -> list[WebElement]:
        return self.driver.find_elements(By.XPATH, f"//*[normalize-space(text())='{text}']")

    def search(self, question: str) -> None:
        """Search runs with MLflow's filter language."""
        box = self.wait(lambda: self.driver.find_elements(By.CSS_SELECTOR, "[data-testid=search-box]"))[0]
        box.send_keys(Keys.CONTROL + "a", Keys.NULL, question, Keys.ENTER)

    def select_all(self) -> None:
        """Select every run in the table."""
        self.run("""document.querySelector("[aria-label='Select all runs']").click()""")

    def rows(self) -> list[dict[str, str]]:
        """Return the rows of the runs table: cells by MLflow's column name."""
        return list(self.run(ROWS))

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Return the plotted values by metric and run."""
        return dict(self.run(CURVES))


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start the browser with MLflow's assistant closed."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1600,1400"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options, Service(DRIVER))
    quiet = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": f"try {{ {quiet} }} catch {{}}"})
    try:
        yield Browser(driver)
    finally:
        driver.quit()
