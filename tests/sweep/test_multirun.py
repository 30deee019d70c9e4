import pytest

from gradclip.config.composition import compose_config
from gradclip.errors import ConfigError
from gradclip.sweep.multirun import for_multirun


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["trainer=ddp"], r"^trainer\.strategy: got 'ddp'; a job of a multirun trains in one process"),
        (["resume=last"], r"^resume: got 'last' in a multirun; only a single run can be resumed"),
    ],
)
def test_settings_that_a_multirun_does_not_support_are_refused(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        for_multirun(compose_config(overrides))
