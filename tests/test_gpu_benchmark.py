"""The GPU benchmark also runs on a CPU at a small scale, so that errors are found before GPU time is spent."""

import pytest

from tests.benchmarks import gpu


@pytest.mark.command
def test_the_benchmark_prints_its_tables_on_a_small_scale(capsys, monkeypatch):
    monkeypatch.setattr(gpu, "METHODS", ["skip", "norm, by groups"])  # a subset
    monkeypatch.setattr(gpu, "FIRST_STEPS", 1)
    monkeypatch.setattr(gpu, "STEPS", 1)
    monkeypatch.setattr(gpu, "SECONDS", dict.fromkeys(gpu.SECONDS, 600))  # a busy machine must not leave checks out
    monkeypatch.setattr(gpu, "find_spec", lambda _: None)  # JAX takes a second to compile
    assert gpu.main(["--small", "right", "monitor", "stacked"]) == 0
    printed = capsys.readouterr().out
    assert "1: stacked training | 3 training runs have the records and scores of a CPU" in printed
    assert "6: two processes | 10 steps are the same in both processes, on cpu" in printed
    assert "GradientMonitor and ClipGradients: norm" in printed
    assert "| 8 | " in printed


def test_a_check_that_fails_or_is_left_out_for_lack_of_time_fails_the_benchmark(capsys, monkeypatch):
    def fail():
        raise RuntimeError("wrong")

    monkeypatch.setattr(gpu, "CHECKS", {"good": lambda: "seen", "bad": fail})
    for seconds, message in ((600, "failed or left out: bad"), (-1, "failed or left out: good, bad")):
        monkeypatch.setattr(gpu, "SECONDS", {"right": seconds})
        assert gpu.main(["--small", "right"]) == 1
        assert message in capsys.readouterr().err
