"""The name of a run lists the settings that differ from the defaults."""

import pytest

from gradclip.config.composition import compose_config
from gradclip.config.overrides import run_name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["clip=norm", "clip.value=2"], "norm=2.0 seed=0"),
        (["clip=norm", "clip.order=1", "clip.parameters=*weight"], "norm=1.0 order=1 parameters=*weight seed=0"),
        (["clip=norm_value", "clip.norm=5", "clip.value=1"], "norm_value=5.0,1.0 seed=0"),
        (["clip=zscore", "clip.alpha=0.9", "seed=3"], "zscore=2.5 alpha=0.9 seed=3"),
        (["+experiment=small_learning_rate", "figures=false"], "none small_learning_rate seed=0"),
        (["optimizer.lr=0.1", "trainer.progress_bar=false", "tracking=none"], "none lr=0.1 seed=0"),
    ],
)
def test_a_run_name_lists_the_settings_that_differ_from_the_defaults(overrides, name):
    assert run_name(compose_config(overrides), overrides) == name


def test_a_run_name_has_the_file_name_of_a_table_without_its_folders(tmp_path):
    (tmp_path / "my homes.csv").write_text("x,y\n1,2\n")
    overrides = ["data=table", f"data.path='{tmp_path}/my homes.csv'", "data.target=y"]
    assert run_name(compose_config(overrides), overrides) == "none data=table path=my homes.csv target=y seed=0"
