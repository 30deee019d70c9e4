"""``predict`` reads the model that training stored and predicts new rows."""

import re
from pathlib import Path

import pandas as pd

from tests.conftest import Command, assert_one_error_line


def test_new_rows_are_predicted_with_the_stored_model(train: Command, command: Command, tmp_path: Path) -> None:
    homes, new, output = (tmp_path / name for name in ("homes.csv", "new.csv", "predictions.csv"))
    rows = pd.DataFrame({"size": range(100), "city": ["Bern", "Zug"] * 50})
    rows.assign(price=rows["size"] * 2.0).to_csv(homes, index=False)
    rows.head(7).to_csv(new, index=False)
    given = ("data=table", f"data.path={homes}", "data.target=price", "data.scale_target=standard", "clip=norm")
    trained = train(*given, "figures=false", "trainer.max_epochs=2")
    run = re.search(r"Run: .*\((\w+)\)", trained.stdout)
    assert run is not None, trained.stderr
    done = command("predict", f"run={run[1]}", f"data={new}", f"output={output}")
    assert done.stdout.startswith("Predicted: 7 rows, column predicted_price\n"), done.stderr
    written = pd.read_csv(output)
    assert list(written) == ["size", "city", "predicted_price"]
    assert written["predicted_price"].notna().all()
    rows.drop(columns="city").to_csv(new, index=False)
    refused = command("predict", f"run={run[1]}", f"data={new}")
    assert_one_error_line(refused, f"data.path: got '{new}'; it has no column 'city', which the model was trained on")
