"""The command ``compare``: compares stored runs, prints the result and stores it."""

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gradclip import keys
from gradclip.cli.entry import output_folder
from gradclip.config.schema import CompareSettings
from gradclip.config.validation import validate_as
from gradclip.program import command_line
from gradclip.terminal import print_lines
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store

if TYPE_CHECKING:
    from gradclip.compare.summary import Comparison


def run(config: DictConfig) -> None:
    """Compare runs as the config says, print the result, and store it."""
    folder, settings = output_folder(), validate_as(CompareSettings, config)
    store = Store.of(settings.tracking)
    opened = ask(store, Operations.check_readable)  # MLflow loads in its own process meanwhile
    from gradclip.compare.comparison import compare

    result_of(opened)
    found = compare(
        store,
        settings.runs,
        folder,
        settings.by,
        settings.metric,
        settings.target,
        settings.figures,
        data_set=settings.data_set,
        figure_format=settings.figure_format,
        split=settings.split,
        typed=HydraConfig.get().overrides.task,
    )
    print_comparison(found, folder)
    print(store_comparison(store, found, folder))


def store_comparison(store: Store, found: "Comparison", folder: Path) -> str:
    """Store a comparison's files with the multirun's parent run, or with a new run; return a sentence that says where.

    Args:
        store: store of the compared runs.
        found: the comparison.
        folder: folder of its files.
    """
    if result_of(ask(store, Operations.is_read_only)):
        return "Not stored: the store is read-only"
    files = str(folder.resolve())  # the folder may be a symbolic link
    if found.selection.parent is not None:
        result_of(ask(store, Operations.write_files, found.selection.parent, files, keys.COMPARISON_FOLDER))
        return f"Stored with the multirun's parent run {found.selection.parent}, under {keys.COMPARISON_FOLDER}"
    command = command_line("compare", HydraConfig.get().overrides.task)
    tags = {keys.COMMAND: command}
    run_id = result_of(ask(store, Operations.create_run, f"comparison: {found.selection.title}", tags, None, None))
    written = ask(store, Operations.write_files, run_id, files, keys.COMPARISON_FOLDER)
    result_of(ask(store, Operations.end_run, run_id, "FAILED" if written.exception() else "FINISHED"))
    result_of(written)
    return f"Stored with run {run_id}"


def print_comparison(found: "Comparison", folder: Path) -> None:
    """Print the table, the verdicts and the paths of all files.

    Args:
        found: the comparison.
        folder: folder of its files.
    """
    from gradclip.compare.report import methods_note, print_findings

    print_findings(found)
    print_lines("", methods_note(found))
    figures = [f"Figure: {path}" for path in folder.glob(f"figures/{keys.COMPARISON_FIGURE}.*")]
    print("\n".join([f"Files: {folder}", *figures]))
