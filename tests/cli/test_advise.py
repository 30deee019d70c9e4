"""``advise`` skips a probe that it cannot make, or makes it with one short run if training runs cannot be stacked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from gradclip import keys
from gradclip.advise.evidence import gather
from gradclip.cli.advise import probe_of
from gradclip.config.composition import compose_config
from gradclip.config.schema import AdviseSettings
from gradclip.diagnosis.evidence import Evidence
from gradclip.errors import ConfigError
from tests.support.evidence import made_run, made_telemetry

TRACKING = compose_config(["tracking.uri=sqlite:///none.db"]).tracking
MUON = "optimizer=muon"  # training runs with Muon cannot be stacked


def exploded(*overrides: str) -> Evidence:
    return gather(made_run(outcome="diverged"), made_telemetry([40.0, 60.0, 900.0], target=550.0), overrides)


def settings(probe: bool | Literal["auto"]) -> AdviseSettings:
    return AdviseSettings.model_construct(probe=probe, tracking=TRACKING)


@pytest.fixture(params=[False], ids=["writable"])
def store(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Replace the tracking process; it only reports whether the store is read-only."""
    monkeypatch.setattr("gradclip.cli.advise.ask", lambda *_: None)
    monkeypatch.setattr("gradclip.cli.advise.result_of", lambda _: request.param)


@pytest.mark.parametrize(
    ("store", "overrides", "reason"),
    [
        (True, (), "the store is read-only"),
        (False, ("model.gone=1",), "model.gone=1 clip=norm: cannot be composed"),
    ],
    indirect=["store"],
)
@pytest.mark.usefixtures("store")
def test_an_impossible_probe_is_an_error_only_if_it_was_requested(
    overrides: tuple[str, ...], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "probe"
    assert probe_of(exploded(*overrides), settings("auto"), folder) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"no probe: {reason}")
    with pytest.raises(ConfigError, match=f"^probe: got True; {reason}"):
        probe_of(exploded(*overrides), settings(True), folder)
    assert not folder.exists()


@pytest.mark.usefixtures("store")
def test_a_training_that_cannot_be_stacked_is_probed_by_one_short_strongly_clipped_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[Sequence[str]] = []

    def train_settings(settings: Sequence[Sequence[str]], seeds: range, *others: object) -> list[str]:
        trained.extend(settings)
        assert (len(seeds), others[-1]) == (1, keys.PROBE)
        return ["the short run"]

    monkeypatch.setattr("gradclip.advise.probe.train_settings", train_settings)
    monkeypatch.setattr("gradclip.advise.probe.read_evidence", lambda run_id, _: run_id)
    assert probe_of(exploded(MUON), settings("auto"), tmp_path) == "the short run"
    assert {*trained[0]} == {MUON, "clip=norm", "clip.value=0.5", "trainer.max_epochs=5"}
    assert "is one short run, because stacking is not possible: optimizer=muon" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("solved", "more", "is_probed"), [("false", (), True), ("true", (), False), ("false", (MUON,), False)]
)
@pytest.mark.usefixtures("store")
def test_a_run_that_did_not_solve_its_task_is_probed_if_it_can_be_stacked(
    solved: str, more: Sequence[str], is_probed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_run()
    run.tags[keys.SOLVED] = solved
    evidence = gather(run, made_telemetry([4.0, 5.0, 6.0]), more)
    monkeypatch.setattr("gradclip.advise.probe.run_probe", lambda *_, **__: evidence)
    assert (probe_of(evidence, settings("auto"), tmp_path) is evidence) is is_probed


@pytest.mark.usefixtures("store")
def test_a_probe_by_one_short_run_needs_a_finite_gradient(tmp_path: Path) -> None:
    evidence = gather(made_run(outcome="diverged"), made_telemetry([float("nan")]), [MUON])
    with pytest.raises(ConfigError, match=r"^probe: got True; the run has no finite gradient"):
        probe_of(evidence, settings(True), tmp_path)
