"""Tables as CSV and as a spreadsheet. No cell of either can run as a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import xlsxwriter

from jobs.pack.model import Cell, Table

# What spreadsheets take for the beginning of a formula, in their wide forms too (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
WIDEST = 60  # of a column, in characters


def as_csv(table: Table) -> bytes:
    """Return a table as CSV (RFC 4180, UTF-8). A text that begins as a formula does gets a quote before it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(table.columns)
    writer.writerows([_text(cell) for cell in row] for row in table.rows)
    return out.getvalue().encode()


def _text(cell: Cell) -> str | int | float:
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else "no"
        case str():
            return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell
        case _:
            return cell


def as_xlsx(sheets: Sequence[Table], made_at: datetime) -> bytes:
    """Return a spreadsheet, a sheet for each table: texts as texts, the first row fixed, every column filterable."""
    out = io.BytesIO()
    plain = {"strings_to_formulas": False, "strings_to_numbers": False, "strings_to_urls": False, "in_memory": True}
    with xlsxwriter.Workbook(out, plain) as book:
        book.set_properties({"created": made_at.replace(tzinfo=None)})
        head = book.add_format({"bold": True, "bg_color": "#E8EEF4", "bottom": 1})
        for table in sheets:
            _sheet(book, table, head)
    return out.getvalue()


def _sheet(book: Any, table: Table, head: Any) -> None:
    sheet = book.add_worksheet(table.name[:31])
    sheet.freeze_panes(1, 0)
    for at, column in enumerate(table.columns):
        longest = max([len(column), *(len(str(row[at] or "")) for row in table.rows[:200])])
        sheet.set_column(at, at, min(longest + 2, WIDEST))
        sheet.write_string(0, at, column, head)
    for number, row in enumerate(table.rows, start=1):
        for at, cell in enumerate(row):
            _write(sheet, number, at, cell)
    if table.rows:
        sheet.autofilter(0, 0, len(table.rows), len(table.columns) - 1)


def _write(sheet: Any, number: int, at: int, cell: Cell) -> None:
    match cell:
        case None:
            return
        case bool():
            sheet.write_string(number, at, "yes" if cell else "no")
        case str():
            sheet.write_string(number, at, cell)
        case _:
            sheet.write_number(number, at, cell)
