"""Files and paths that are unlikely to be meant as a table, in addition to those of :mod:`tests.support.fuzzing`."""

import gzip
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

ROWS = range(60)
FRAME = pd.DataFrame({"x": np.arange(60.0), "city": ["ab"[row % 2] for row in ROWS], "y": np.arange(60.0) ** 2})
CSV = FRAME.to_csv(index=False)
READ = {  # the files that are read; all others are refused
    *("NUL in the header", "an escape in the header", "a name on two lines", "percent in a name", "slashes in a name"),
    *("a name of 1,000 characters", "a name of 100,000 characters", "blank name", "a formula as a name", "20 digits"),
    *("negative zero", "tiny", "blank lines", "an index", "an index without a name", "numbers as names", "categories"),
    *("utf-32", "gzip", "Parquet", "complex text"),
    *("half precision", "metadata without columns", "metadata of a huge index", "metadata of extension types"),
}


def odd_paths(folder: Path) -> dict[str, str]:
    """Return paths that do not name a table, by defect."""
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "dangling.csv").symlink_to("gone.csv")
    devices = {name: folder / f"{name}.csv" for name in ("zero", "urandom", "null", "tty")}
    for name, path in devices.items():
        path.symlink_to(f"/dev/{name}")
    (folder / "memory.csv").symlink_to("/proc/self/mem")
    (folder / "plain.csv").write_text(CSV)
    inside = {
        "in a file": "plain.csv/table.csv",
        "in a loop": "loop.csv/table.csv",
        "long name": f"{'x' * 300}.csv",
        "long path": "x/" * 2040 + "t.csv",
        "too long path": "x/" * 5000 + "t.csv",
        "control character": "a\x1b[2J.csv",
        "only a suffix": ".csv",
    }
    named = ("folder", "pipe", "loop", "dangling", "memory", *devices)
    return {
        **{name: str(folder / f"{name}.csv") for name in named},
        **{name: str(folder / path) for name, path in inside.items()},
        "NUL": f"{folder}/a\0b.csv",
        "not UTF-8": f"{folder}/\udcff.csv",
        "an address": "http://127.0.0.1:9/table.csv",
        "empty": "",
        "blank": " ",
        "a process": "/proc/1/root/x.csv",
    }


def odd_csvs() -> dict[str, bytes]:
    """Return contents of CSV files by oddity."""
    text = CSV.encode()
    packed = gzip.compress(text)
    return {
        "utf-32": CSV.encode("utf-32"),
        "gzip": packed,
        "gzip, truncated": packed[:60],
        "header without a line break": b"x,city,y",
        "one column": b"y\n" + b"1\n2\n" * 40,
        "only quotes": b'"' * 1000,
        "only commas": b"," * 1000,
        "NUL in the header": text.replace(b"x,", b"x\0x,", 1),
        "an escape in the header": text.replace(b"x,", b"\x1b[2Jx,", 1),
        "a name on two lines": text.replace(b"x,", b'"x\nz",', 1),
        "percent in a name": text.replace(b"x,", b"a%b,", 1),
        "slashes in a name": text.replace(b"x,", b"../../x,", 1),
        "a name of 1,000 characters": text.replace(b"x,", b"x" * 1000 + b",", 1),
        "a name of 100,000 characters": text.replace(b"x,", b"x" * 100_000 + b",", 1),
        "blank name": text.replace(b"x,", b" ,", 1),
        "the same name three times": b"y,y,y\n" + b"1,2,3\n4,5,7\n" * 40,
        "a formula as a name": text.replace(b"x,", b"=HYPERLINK(0),", 1),
        "a cell of ten million digits": text.replace(b"9.0", b"9" * 10_000_000, 1),
        "a cell of ten million letters": text.replace(b"9.0", b"z" * 10_000_000, 1),
        "NaN": text.replace(b"9.0", b"nan", 1),
        "negative zero": text.replace(b"9.0", b"-0.0", 1),
        "hexadecimal": text.replace(b"9.0", b"0x10", 1),
        "thousands": text.replace(b"9.0", b'"9,000"', 1),
        "huge": text.replace(b"9.0", b"1e39", 1),
        "tiny": text.replace(b"9.0", b"1e-320", 1),
        "20 digits": text.replace(b"9.0", b"12345678901234567890", 1),
        "3,000 columns": (",".join(f"c{number}" for number in range(3000)) + ",y\n").encode() + b"1\n" * 50,
        "blank lines": text.replace(b"\n", b"\n\n"),
        "a comment": b"# a table\n" + text,
        "Parquet": _parquet(FRAME),
    }


def odd_parquets() -> dict[str, bytes]:
    """Return contents of Parquet files by oddity."""
    whole, dates = _parquet(FRAME), pd.date_range("2020", periods=60)
    frames = {
        "an index": FRAME.set_index("x"),
        "an index without a name": FRAME.set_index(dates),
        "an index named as a column": FRAME.rename_axis("y"),
        "an index of two columns": FRAME.set_index([FRAME.x, FRAME.city]),
        "no rows": FRAME.iloc[:0],
        "no columns": FRAME[[]],
        "no name": FRAME.rename(columns={"x": ""}),
        "numbers as names": FRAME.rename(columns={"x": "7"}),
        "categories": FRAME.astype({"city": "category"}),
        "lists": FRAME.assign(x=[[1, 2]] * 60),
        "structures": FRAME.assign(x=[{"a": 1}] * 60),
        "bytes": FRAME.assign(x=[b"\xff"] * 60),
        "dates": FRAME.assign(x=dates),
        "durations": FRAME.assign(x=dates - dates[0]),
        "intervals": FRAME.assign(x=pd.interval_range(0, periods=60)),
        "periods": FRAME.assign(x=dates.to_period("D")),
        "nullable": FRAME.assign(x=pd.array([1, None] * 30, "Int64")),
        "half precision": FRAME.assign(x=np.arange(60, dtype="float16")),
        "20 digits": FRAME.assign(x=np.full(60, 2**64 - 1, "uint64")),
        "infinite": FRAME.assign(x=np.inf),
        "complex text": FRAME.assign(x=["1+2j"] * 60),
    }
    table = pyarrow.Table.from_pandas(FRAME)
    metadata = json.loads(table.schema.metadata[b"pandas"])
    columns, huge = metadata["columns"], {"kind": "range", "name": None, "start": 0, "stop": 10**12, "step": 1}
    unknown = {"pandas_type": "datetimetz", "numpy_type": "nope"}
    extension = {"numpy_type": "category", "metadata": {"a": 1}}
    changes: dict[str, Any] = {
        "metadata without columns": {"columns": []},
        "metadata of a missing index": {"index_columns": ["gone"]},
        "metadata of a huge index": {"index_columns": [huge]},
        "metadata of an unknown type": {"columns": [column | unknown for column in columns]},
        "metadata of extension types": {"columns": [column | extension for column in columns]},
    }
    texts = {name: json.dumps(metadata | change) for name, change in changes.items()} | {
        "metadata that is a string": '"nonsense"',
        "metadata that is a list": "[1]",
        "metadata that is not JSON": "{",
    }
    twice = pyarrow.Table.from_arrays([table["x"], table["y"], table["y"]], names=["x", "y", "y"])
    return {
        **{name: _parquet(frame) for name, frame in frames.items()},
        **{name: _written(table.replace_schema_metadata({"pandas": text})) for name, text in texts.items()},
        "the same name twice": _written(twice),
        "truncated": whole[:-20],
        "truncated at the start": whole[20:],
        "only the magic bytes": b"PAR1" + bytes(100) + b"PAR1",
        "a length beyond its end": whole[:-8] + b"\xff\xff\xff\x7f" + b"PAR1",
        "empty": b"",
        "CSV": CSV.encode(),
        "damaged": whole[:200] + bytes(100) + whole[300:],
    }


def _parquet(frame: pd.DataFrame) -> bytes:
    return _written(pyarrow.Table.from_pandas(frame))


def _written(table: pyarrow.Table) -> bytes:
    target = io.BytesIO()
    parquet.write_table(table, target)
    return target.getvalue()


def write_all(folder: Path, contents: Mapping[str, bytes], suffix: str) -> dict[str, str]:
    """Write files and return their paths by oddity."""
    paths = {}
    for number, (name, content) in enumerate(contents.items()):
        path = folder / f"{number}{suffix}"
        path.write_bytes(content)
        paths[name] = str(path)
    return paths
