"""Reading of tables from CSV with any delimiter, decimal sign, encoding and compression, and from Parquet."""

import bz2
import codecs
import csv
import gzip
import lzma
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pandas as pd
from pyarrow import ArrowException, ArrowInvalid, dataset

from gradclip.data.typed_columns import ambiguous_number, plain_columns, uses_decimal_comma
from gradclip.errors import DataError, check_choice, first_line

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": r"\s+"}
DECIMALS = {"point": ".", "comma": ","}
MARKS = {  # byte order marks; UTF-32 comes first, because its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
WESTERN = "cp1252"  # written by spreadsheets on Windows in Western Europe and the Americas
TOO_WIDE = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")  # as pandas reports it
ERRORS = (
    *(ValueError, TypeError, LookupError, OSError, EOFError, zlib.error, lzma.LZMAError, ArrowException, csv.Error),
    pd.errors.ParserWarning,
)
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
SAMPLE = 2**16  # bytes from which the delimiter and the header are detected
CHUNK = 2**20
LARGEST_TEXT = 2**32  # bytes after decompression: a small compressed file may expand to more than the memory
LARGEST_TABLE = 10**9  # cells: compressed columns, and the missing cells of short rows, take no space in a file


def read_file(
    path: Path, delimiter: str = "auto", decimal: str = "auto", encoding: str = "auto"
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read a CSV or Parquet file, or a folder of Parquet files; also return notes on how it was read.

    A named Parquet index becomes a column. ``auto`` detects a value from the content of a CSV file.

    Args:
        path: path of the file or folder.
        delimiter: a key of ``DELIMITERS``, or ``auto``.
        decimal: a key of ``DECIMALS``, or ``auto``.
        encoding: name of a Python codec, or ``auto``.

    Raises:
        DataError: an option is unknown, or the file is empty, too large or cannot be read.
    """
    check_choice("data.delimiter", delimiter, ("auto", *DELIMITERS), DataError)
    check_choice("data.decimal", decimal, ("auto", *DECIMALS), DataError)
    try:
        if path.is_dir() or path.suffix in {".parquet", ".pq"} or _head(path).startswith(b"PAR1"):
            return _read_parquet(path).rename(columns=str), ()
        return _read_text(path, delimiter, decimal, encoding)
    except ERRORS as error:
        raise DataError(f"data.path: got '{path}'; {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return why a file cannot be read, without the terms of pandas."""
    if isinstance(error, pd.errors.EmptyDataError):
        return "the file is empty"
    if isinstance(error, pd.errors.ParserWarning):
        return "some rows have more fields than the header has names; name every column, including one of row names"
    if "EOF inside string" in str(error):
        return "a quotation mark is not closed"
    if wide := TOO_WIDE.search(str(error)):
        expected, line, found = wide.groups()
        return f"line {line} has {found} fields instead of {expected}"
    return f"cannot be read: {first_line(error).removeprefix('Error tokenizing data. C error: ')}"


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        found = dataset.dataset(path, format="parquet", partitioning="hive" if path.is_dir() else None)
        rows = found.count_rows()
    except ArrowInvalid as error:
        what = "the folder has a file that is not" if path.is_dir() else "the file is truncated or is not"
        raise DataError(f"data.path: got '{path}'; {what} Parquet") from error
    _check_cells(path, len(found.schema), rows)
    frame = pd.read_parquet(path)
    return frame.reset_index(drop=frame.index.names == [None])


def _check_cells(path: Path, columns: int, rows: int) -> None:
    if (cells := max(1, columns) * rows) > LARGEST_TABLE:
        raise DataError(f"data.path: got '{path}'; has {cells:,} cells, at most {LARGEST_TABLE:,} can be read")


def _read_text(path: Path, delimiter: str, decimal: str, encoding: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    head, lines, is_utf8 = _scan(path)
    if encoding == "auto":
        encoding = _encoding(path, head, is_utf8)
        if encoding == WESTERN:
            notes = ("the file is not UTF-8 and was read as Windows-1252; if letters are wrong, set data.encoding",)
    sample = codecs.getincrementaldecoder(encoding)().decode(head[:SAMPLE])
    if len(head) >= SAMPLE:
        sample = sample[: sample.rfind("\n") + 1] or sample  # without the last line, which may be cut
    header_row = 1 if re.match(r"sep=.\r?\n", sample) else 0  # spreadsheets declare the delimiter in such a line
    sample = sample.split("\n", header_row)[-1]
    separator = _delimiter(sample) if delimiter == "auto" else DELIMITERS[delimiter]
    _check_header(path, sample, separator)
    _check_cells(path, _header_width(path, separator, header_row), lines - header_row - 1)
    options = {"sep": separator, "encoding": encoding, "skiprows": header_row}
    is_comma = decimal == "comma"
    frame = _parse(path, options, DECIMALS.get(decimal, "."))
    if decimal == "auto" and separator != ",":
        if uses_decimal_comma(frame):
            frame, is_comma = _parse(path, options, ","), True
        _check_decimal_sign(sample, separator, "," if is_comma else ".")
    return plain_columns(frame, is_comma), notes


def _parse(path: Path, options: Mapping[str, object], decimal: str) -> pd.DataFrame:
    """Parse the text; only empty cells are missing, because "NA" may be a category."""
    with _opened(path) as file, warnings.catch_warnings(category=pd.errors.ParserWarning, action="error"):
        frame: pd.DataFrame = pd.read_csv(  # type: ignore[call-overload]
            file,
            **options,
            decimal=decimal,
            index_col=False,
            keep_default_na=False,
            na_values=[""],
            skipinitialspace=True,
            low_memory=False,  # otherwise a long column may get several types
        )
    return frame.rename(columns=lambda name: str(name).strip())


def _check_decimal_sign(sample: str, separator: str, sign: str) -> None:
    """Refuse numbers such as 1.050 beside 950: read as a decimal, a thousands separator would change the value."""
    header, *rows = _fields(sample, separator)
    whole = pd.DataFrame([row for row in rows if len(row) == len(header)], columns=header)
    if found := ambiguous_number(whole, sign):
        name, cell = found
        decimal, thousands = {
            ".": ("data.decimal=point", "set data.decimal=comma"),
            ",": ("data.decimal=comma", "remove the commas"),
        }[sign]
        rule = f"set {decimal}, or if that is {cell.replace(sign, '')}, {thousands}"
        raise DataError(f"data.decimal: got {cell!r} beside numbers without {sign!r} in column {name!r}; {rule}")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(10)


def _opened(path: Path) -> BinaryIO | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    """Open a file for reading, decompressed; the content, not the name, determines the compression."""
    head = _head(path)
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(path)
    if head.startswith(b"BZh") and head[4:] == b"1AY&SY":
        return bz2.open(path)
    if head.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(path)
    if head.startswith(b"PK\x03\x04"):
        raise DataError(f"data.path: got '{path}'; is a ZIP archive or a spreadsheet, save it as CSV")
    return path.open("rb")


def _scan(path: Path) -> tuple[bytes, int, bool]:
    """Read a whole text; return its first bytes, its number of line ends, and whether it is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    head, size, lines, is_utf8 = b"", 0, 0, True
    with _opened(path) as file:
        for chunk in iter(partial(file.read, CHUNK), b""):
            head = head or chunk
            size += len(chunk)
            lines += chunk.count(b"\n")
            if size > LARGEST_TEXT:
                raise DataError(f"data.path: got '{path}'; has more than {LARGEST_TEXT >> 30} GiB of text")
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                is_utf8 = False
    return head, lines, is_utf8


def _encoding(path: Path, head: bytes, is_utf8: bool) -> str:
    """Return the encoding of a file: by its byte order mark, else UTF-8 if it decodes, else Windows-1252."""
    if marked := [name for mark, name in MARKS.items() if head.startswith(mark)]:
        return marked[0]
    if not is_utf8 and BINARY.search(head):
        raise DataError(f"data.path: got '{path}'; cannot be read: is not text")
    return "utf-8-sig" if is_utf8 else WESTERN


def _delimiter(sample: str) -> str:
    """Return the delimiter that splits the header, and splits most lines into as many fields as the header."""
    best = max(",;\t|", key=lambda delimiter: _agreement(sample, delimiter))
    splits = _agreement(sample, best)[0] or len((sample.splitlines() or [""])[0].split()) < 2
    return best if splits else DELIMITERS["space"]


def _agreement(sample: str, delimiter: str) -> tuple[bool, float, int]:
    """Return whether a delimiter splits the header, the fraction of lines like it, and its number of fields.

    ``csv.Sniffer`` is not used: it also considers letters, mistakes decimal commas for delimiters, and takes quadratic
    time on text full of quotation marks.
    """
    try:
        widths = [len(row) for row in csv.reader(sample.splitlines(keepends=True), delimiter=delimiter) if row]
    except csv.Error:
        return (False, 0.0, 0)
    return (widths[0] > 1, round(widths.count(widths[0]) / len(widths), 1), widths[0]) if widths else (False, 0.0, 0)


def _header_width(path: Path, separator: str, header_row: int) -> int:
    """Return the number of columns in the header, which may be longer than the sample."""
    with _opened(path) as file:
        header = [file.readline() for _ in range(header_row + 1)][-1]
    return len(header.split() if separator == DELIMITERS["space"] else header.split(separator.encode()))


def _check_header(path: Path, sample: str, separator: str) -> None:
    """Refuse a header that repeats a name: pandas would rename the second column."""
    names = next(_fields(sample, separator), [])
    named = [name.strip() for name in names if name.strip()]
    if twice := [name for name in named if named.count(name) > 1]:
        raise DataError(f"data.path: got '{path}'; its header names {twice[0]!r} twice")


def _fields(sample: str, separator: str) -> Iterator[list[str]]:
    """Yield the fields of each line."""
    if separator == DELIMITERS["space"]:
        return map(str.split, sample.splitlines())
    return csv.reader(sample.splitlines(keepends=True), delimiter=separator)
