"""The benchmark for a GPU runs in small on a CPU too, so that it works where there is a GPU for a while only."""

import pytest

from tests.benchmarks import gpu


@pytest.mark.command
def test_it_prints_its_tables_in_small(capsys, monkeypatch):
    monkeypatch.setattr(gpu, "METHODS", ["skip", "norm, by groups"])  # of all those it measures
    monkeypatch.setattr(gpu, "FIRST_STEPS", 1)
    monkeypatch.setattr(gpu, "STEPS", 1)
    monkeypatch.setattr(gpu, "find_spec", lambda _: None)  # JAX takes a second to compile
    assert gpu.main(["--small", "right", "monitor", "stacked"]) == 0
    printed = capsys.readouterr().out
    assert "1: stacked training | 3 trainings have the records and scores of a CPU" in printed
    assert "6: two processes | 10 steps are the same in both processes, on cpu" in printed
    assert "GradientMonitor and ClipGradients: norm" in printed
    assert "| 8 | " in printed
