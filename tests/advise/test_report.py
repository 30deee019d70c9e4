"""Advice as text does not call a run healthy that diverged and has no remedy."""

from dataclasses import replace

import numpy as np

from gradclip.advise.evidence import gather
from gradclip.advise.report import advice_message
from gradclip.diagnosis.probe_results import ProbeResult
from gradclip.diagnosis.remedy import Remedy
from tests.support.evidence import made_run, made_telemetry


def test_a_diverged_run_without_remedies_is_not_called_healthy() -> None:
    run = gather(made_run(outcome="diverged", loss__name="huber"), made_telemetry([4.0, 900.0]), ["loss=huber"])
    probe = replace(run, probe_results=(ProbeResult(Remedy("norm at 5", ""), True, (np.inf,), 0, ""),))
    message = advice_message(run, probe, seeds=2)
    assert message.startswith("Nothing to suggest: none of the known remedies helps"), message
    assert "None of them helps" in message
