"""Unusual tables and how each is read: ``python -m tests.support.odd_tables docs/odd-tables.md`` updates the page."""

import bz2
import gzip
import io
import lzma
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from gradclip.config.error_messages import describe
from gradclip.data.sources import table
from gradclip.data.tabular import TabularData
from gradclip.errors import GradclipError, first_few
from gradclip.formatting import markdown_cell

BEGIN, END = "<!-- tables:begin -->", "<!-- tables:end -->"
HEAD = "| table | result |\n|---|---|"
COUNTED = " (rows are counted from 1, without the header)"  # in many error lines; the page says it once
ROWS = range(12)
VALIDATION_FRACTION = 0.2  # as in conf/data/table.yaml
CITIES, KINDS = ("Bonn", "Köln", "Ulm"), ("flat", "house")


class OddTable(NamedTuple):
    """A file, and the settings to read it with; its target is the column ``price``."""

    content: bytes | dict[str, bytes]  # content of a file, or of each file in a folder
    settings: Mapping[str, Any] = MappingProxyType({})
    name: str = "homes.csv"


def lines(header: str, row: Callable[[int], object], count: int = len(ROWS)) -> bytes:
    """Return a CSV file; ``row`` makes a line from the row's number."""
    return "".join(f"{line}\n" for line in (header, *(row(number) for number in range(count)))).encode()


def size(row: int) -> int:
    return 30 + row * 37 % 50


def plain(row: int) -> str:
    return f"{size(row)},{CITIES[row % 3]},{3 * size(row) + row % 2}"


def with_cell(cell: Callable[[int], object], count: int = len(ROWS)) -> bytes:
    """Return a CSV file with the given cells in a column ``age``."""
    return lines("size,age,price", lambda row: f"{size(row)},{cell(row)},{size(row)}", count)


def of_target(price: Callable[[int], object], **settings: Any) -> OddTable:
    return OddTable(lines("size,price", lambda row: f"{size(row)},{price(row)}"), settings)


def zipped(content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("homes.csv", content)
    return target.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    target = io.BytesIO()
    frame.to_parquet(target)
    return target.getvalue()


CSV = lines("size,city,price", plain)
TEXT = CSV.decode()
FRAME = pd.read_csv(io.BytesIO(CSV))

TABLES = {
    "comma, text with few values": OddTable(CSV),
    "semicolon and decimal comma": OddTable(lines("size;price", lambda row: f"{size(row)},5;{row}")),
    "decimal comma, point as thousands separator": OddTable(
        lines("size;price", lambda row: f"1.0{size(row)},5;{row}.000")
    ),
    "semicolon, points before three digits beside whole numbers": OddTable(
        lines("size;price", lambda row: f"{f'1.0{size(row)}' if row % 2 else 900 + row};{row}")
    ),
    "semicolon, points before three digits beside whole numbers, set": OddTable(
        lines("size;price", lambda row: f"{f'1.0{size(row)}' if row % 2 else 900 + row};{row}"), {"decimal": "comma"}
    ),
    "tab, commas before three digits beside whole numbers": OddTable(
        lines("size\tprice", lambda row: f"{f'1,0{size(row)}' if row % 2 else 900 + row}\t{row}")
    ),
    "comma, quoted decimal commas": OddTable(lines("size,price", lambda row: f'"{size(row)},5",{row}')),
    "comma, quoted decimal commas, set": OddTable(
        lines("size,price", lambda row: f'"{size(row)},5",{row}'), {"decimal": "comma"}
    ),
    "tab": OddTable(CSV.replace(b",", b"\t"), name="homes.tsv"),
    "vertical bar": OddTable(CSV.replace(b",", b"|"), name="homes.txt"),
    "columns separated by spaces": OddTable(CSV.replace(b",", b"   ")),
    "a first line sep=;": OddTable(b"sep=;\n" + CSV.replace(b",", b";")),
    "spaces after the commas": OddTable(CSV.replace(b",", b", ")),
    "Windows line endings": OddTable(CSV.replace(b"\n", b"\r\n")),
    "line endings of an old Mac": OddTable(CSV.replace(b"\n", b"\r")),
    "blank lines": OddTable(CSV.replace(b"\n", b"\n\n")),
    "a comma and a line ending within quotes": OddTable(CSV.replace("Köln".encode(), b'"Bonn,\nWest"')),
    "UTF-8 with a byte order mark": OddTable(TEXT.encode("utf-8-sig")),
    "UTF-16": OddTable(TEXT.encode("utf-16")),
    "Windows-1252": OddTable(TEXT.encode("cp1252")),
    "Windows-1250, set": OddTable(TEXT.replace("Köln", "Łódź").encode("cp1250"), {"encoding": "cp1250"}),
    "another encoding than the one set": OddTable(TEXT.encode("cp1252"), {"encoding": "utf-8"}),
    "not a text file": OddTable(b"\x00\x81\x8d" * 100),
    "gzip": OddTable(gzip.compress(CSV), name="homes.csv.gz"),
    "gzip under another name": OddTable(gzip.compress(CSV)),
    "bzip2": OddTable(bz2.compress(CSV), name="homes.csv.bz2"),
    "xz": OddTable(lzma.compress(CSV), name="homes.csv.xz"),
    "gzip, truncated": OddTable(gzip.compress(CSV)[:60], name="homes.csv.gz"),
    "a ZIP archive, or a spreadsheet": OddTable(zipped(CSV)),
    "Parquet": OddTable(parquet(FRAME), name="homes.parquet"),
    "Parquet, categories": OddTable(parquet(FRAME.astype({"city": "category"})), name="homes.parquet"),
    "Parquet, truncated": OddTable(parquet(FRAME)[:-20], name="homes.parquet"),
    "a folder of Parquet files": OddTable({f"{part}.parquet": parquet(FRAME) for part in range(2)}, name="homes"),
    "a folder of CSV files": OddTable({"0.csv": CSV, "1.csv": CSV}, name="homes"),
    "an empty file": OddTable(b""),
    "a header and no rows": OddTable(b"size,city,price\n"),
    "three rows": OddTable(lines("size,city,price", plain, 3), {"categorical": ["city"]}),
    "no header": OddTable(CSV.partition(b"\n")[2]),
    "a comment above the header": OddTable(b"# homes of 2024\n" + CSV),
    "every row has one field more than the header": OddTable(CSV.replace(b"size,", b"", 1)),
    "one row has one field more": OddTable(CSV.replace(b",Ulm,", b",Ulm,old,", 1)),
    "every row ends with a comma": OddTable(CSV.replace(b"\n", b",\n").replace(b"price,", b"price", 1)),
    "header and rows end with a comma": OddTable(CSV.replace(b"\n", b",\n")),
    "the last row is truncated": OddTable(CSV[: CSV.rindex(b",")] + b"\n"),
    "a duplicate column name": OddTable(CSV.replace(b"city", b"size", 1)),
    "spaces around names": OddTable(CSV.replace(b"size,city", b" size , city ", 1)),
    "saved with its index": OddTable(FRAME.to_csv().encode()),
    "saved with a shuffled index": OddTable(FRAME.sample(frac=1, random_state=0).to_csv().encode()),
    "an id that counts the rows": OddTable(
        lines("id,size,price", lambda row: f"{row + 1},{size(row)},{size(row) + 1}")
    ),
    "text, different in every row": OddTable(with_cell(lambda row: f"street {row}")),
    "text with 30 values": OddTable(with_cell(lambda row: f"street {row % 30}", 90)),
    "text with 30 values, set as categories": OddTable(
        with_cell(lambda row: f"street {row % 30}", 90), {"categorical": ["age"]}
    ),
    "25,000 categories": OddTable(with_cell(lambda row: f"id{row}", 25_000), {"categorical": ["age"]}),
    "numbers that are categories": OddTable(with_cell(lambda row: row % 3), {"categorical": ["age"]}),
    "a category NA": OddTable(with_cell(lambda row: ("NA", "EU", "None")[row % 3])),
    "missing numbers": OddTable(with_cell(lambda row: size(row) if row % 3 else "")),
    "NA and ? among numbers, filled with the median": OddTable(
        with_cell(lambda row: size(row) if row % 5 else ("NA", "?")[row % 2]), {"missing": "median"}
    ),
    "missing numbers, rows dropped": OddTable(with_cell(lambda row: size(row) if row % 3 else ""), {"missing": "drop"}),
    "missing categories, filled with the most frequent": OddTable(
        with_cell(lambda row: KINDS[row % 2] if row % 3 else ""), {"missing": "median"}
    ),
    "a missing cell in every row, rows dropped": OddTable(with_cell("".format), {"missing": "drop"}),
    "a column without values": OddTable(with_cell("".format)),
    "booleans": OddTable(with_cell(lambda row: row % 2 == 0)),
    "booleans with missing cells": OddTable(with_cell(lambda row: row % 2 == 0 if row % 3 else "")),
    "booleans with missing cells, filled with the median": OddTable(
        with_cell(lambda row: row % 2 == 0 if row % 3 else ""), {"missing": "median"}
    ),
    "yes and no": OddTable(with_cell(lambda row: ("yes", "no")[row % 2])),
    "integers beyond 64 bits": OddTable(with_cell(lambda row: 10**30 + row)),
    "infinity": OddTable(with_cell(lambda row: size(row) if row else "inf")),
    "too large for training": OddTable(with_cell(lambda row: size(row) if row != 4 else "1e39")),
    "one text cell among numbers": OddTable(with_cell(lambda row: size(row) if row != 4 else "about 9")),
    "percent": OddTable(with_cell(lambda row: f"{size(row)}%")),
    "comma as thousands separator": OddTable(with_cell(lambda row: f'"{size(row)},000"')),
    "dates": OddTable(with_cell(lambda row: f"{row + 1:02}.02.2020")),
    "a constant column": OddTable(with_cell("1".format)),
    "names with commas and brackets": OddTable(
        lines('"size, m2",age[y],price', lambda row: f"name {row},{row + 1},{size(row)}")
    ),
    "several problems at once": OddTable(
        lines(
            "age,name,since,heated,price",
            lambda row: f"{size(row) if row % 2 else ''},name {row},2020-01-{row + 10},{KINDS[row % 2]},{size(row)}",
        )
    ),
    "target of text": of_target(lambda row: KINDS[row % 2]),
    "target of booleans": of_target(lambda row: row % 2 == 0),
    "target of integers": of_target(lambda row: row % 3),
    "target of integers, set as classes": of_target(lambda row: row % 3, task="classification"),
    "target of fractions, set as classes": of_target(lambda row: row % 3 + 0.5, task="classification"),
    "target of text, set as numbers": of_target(lambda row: KINDS[row % 2], task="regression"),
    "target of a single class": of_target("flat".format),
    "target of text, different in every row": of_target(lambda row: f"home {row}"),
    "a class with one row": of_target(lambda row: "tent" if row == 5 else KINDS[row % 2]),
    "a class with one row, not stratified": of_target(
        lambda row: "tent" if row == 5 else KINDS[row % 2], stratify=False
    ),
    "a class that only the test rows have": of_target(
        lambda row: "tent" if row == 5 else KINDS[row % 2], stratify=False, split_seed=2
    ),
    "missing target values": of_target(lambda row: size(row) if row % 4 else ""),
    "missing target values, with the median set for missing cells": of_target(
        lambda row: size(row) if row % 4 else "", missing="median"
    ),
    "a constant target": of_target("7".format),
    "target of numbers, with class weights": of_target(size, class_weights="balanced"),
}


def write(odd: OddTable, folder: Path) -> Path:
    """Write a table into an empty folder."""
    path = folder / odd.name
    if isinstance(odd.content, bytes):
        path.write_bytes(odd.content)
    else:
        path.mkdir()
        for name, content in odd.content.items():
            (path / name).write_bytes(content)
    return path


def outcome(odd: OddTable, folder: Path) -> str:
    """Return how a table is read, or the line that refuses it."""
    path = write(odd, folder)
    settings = {"validation_fraction": VALIDATION_FRACTION, **odd.settings}
    weights = {name: settings.pop(name) for name in ("class_weights",) if name in settings}
    try:
        data = TabularData(table(str(path), "price", **settings), batch_size=2, **weights)
    except GradclipError as error:
        return f"**refused**: {_plain(describe(error), path)}"
    kind = "numbers" if data.table.labels is None else "classes"
    inputs = f"{first_few(data.table.features.columns)} (numbers for the network: {data.shape.example[0]})"
    read = f"read: {len(data.table.target)} rows, inputs {inputs}, a target of {kind}"
    return _plain("; ".join([read, *data.notes]), path)


def _plain(text: str, path: Path) -> str:
    return markdown_cell(text.replace(str(path), path.name))


def rows() -> list[str]:
    """Return the rows of the page's table in Markdown."""
    found = []
    for name, odd in TABLES.items():
        with tempfile.TemporaryDirectory() as folder:
            settings = "".join(f" `data.{key}={_value(value)}`" for key, value in odd.settings.items())
            result = outcome(odd, Path(folder)).replace(COUNTED, "")
            found.append((f"{name}{':' if settings else ''}{settings}", result))
    first = found[0][1]
    shown = [first, *("as the first table" if result == first else result for _, result in found[1:])]
    return [f"| {name} | {result} |" for (name, _), result in zip(found, shown, strict=True)]


def _value(value: object) -> str:
    return f"[{','.join(value)}]" if isinstance(value, list) else str(value).lower() if value is False else str(value)


def updated(page: str) -> str:
    """Return a page with the table between its markers."""
    return re.sub(f"(?<={BEGIN}\n\n).*(?=\n\n{END})", lambda _: "\n".join([HEAD, *rows()]), page, flags=re.DOTALL)


def main(paths: list[str]) -> None:
    """Update the table on the pages."""
    for path in map(Path, paths):
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
