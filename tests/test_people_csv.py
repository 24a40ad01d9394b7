"""The company's list as CSV: what is forgiven, and what is refused with its line."""

from __future__ import annotations

import csv
import io
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhi.people import Entry, People
from nhi.people_csv import Read, read
from tests.strategies import HOSTILE_TEXTS


def lines(*rows: str) -> Read:
    return read("\n".join(rows).encode())


def problems(found: Read) -> list[tuple[int, str]]:
    return [(one.line, one.says) for one in found.problems]


ANA = Entry(email="ana@example.com", name="Ana Diaz")


def test_every_column_is_read_in_any_order() -> None:
    found = lines(
        "Logins,End Date,E-Mail,Manager,Name,Team,start_date,aliases,Team Channel,Team-Default",
        "adiaz;ana-d,2026-12-31,ANA@Example.com,bea@example.com,Ana Diaz,Infra,2020-01-01,a@example.com,infra,"
        "bea@example.com",
    )
    assert not found.problems
    assert found.entries == (
        Entry(
            email="ana@example.com",
            name="Ana Diaz",
            manager="bea@example.com",
            team="Infra",
            team_channel="#infra",
            team_default="bea@example.com",
            starts_on=date(2020, 1, 1),
            ends_on=date(2026, 12, 31),
            aliases=("a@example.com",),
            logins=("adiaz", "ana-d"),
        ),
    )


@pytest.mark.parametrize("header", ["email,name", "E-Mail,Full Name", "mail,Display_Name", "WORK EMAIL,employee"])
def test_headers_are_forgiven_their_spelling(header: str) -> None:
    assert lines(header, "ana@example.com,Ana Diaz").entries == (ANA,)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfemail,name\r\nana@example.com,Ana Diaz\r\n",
        b"email;name\nana@example.com;Ana Diaz\n",
        b"email\tname\nana@example.com\tAna Diaz",
        "email,name\nana@example.com,Ana Diaz".encode("utf-16"),
        b"\n\nemail,name\n\nana@example.com,Ana Diaz\n,\n",
        b'"email","name"\n"ana@example.com","Ana Diaz"',
        b'email,name\n="ana@example.com","=""Ana Diaz"""',
        b"email,name\n<mailto:ana@example.com>,Ana Diaz".replace(b"<mailto:", b"mailto:").replace(b">", b""),
    ],
    ids=["bom", "semicolons", "tabs", "utf-16", "empty lines", "quotes", "excel text", "mailto"],
)
def test_what_spreadsheets_do_to_a_file_is_undone(data: bytes) -> None:
    found = read(data)
    assert (found.entries, found.problems) == ((ANA,), ())


def test_a_file_that_is_not_utf_8_is_read_as_windows_1252_and_that_is_said() -> None:
    found = read("email,name\ncem@example.com,Cem Müller".encode("cp1252"))
    assert found.entries[0].name == "Cem Müller"
    assert "Windows-1252" in found.notes[0]


def test_an_unknown_column_near_a_known_one_is_refused_with_the_known_one() -> None:
    [(line, says)] = problems(lines("email,manger", "ana@example.com,bea@example.com"))
    assert (line, "did you mean “manager”" in says) == (1, True)


def test_a_column_that_means_nothing_here_is_left_out_and_named() -> None:
    found = lines("email,Shoe size", "ana@example.com,38")
    assert (found.entries, found.notes) == ((Entry(email="ana@example.com"),), ("The column “Shoe size” is not used.",))


@pytest.mark.parametrize(
    ("rows", "line", "says"),
    [
        (["name,team", "Ana,Infra"], 1, "No column holds the e-mail"),
        (["email,mail", "a@example.com,b@example.com"], 1, "Two columns mean “email”"),
        (["email", "nobody"], 2, "no e-mail address"),
        (["email,name", ",Ana"], 2, "no email address"),
        (["email,end date", "a@example.com,31/12/2026"], 2, "2026-06-30"),
        (["email,end date", "a@example.com,2026-13-01"], 2, "2026-06-30"),
        (["email,start,end", "a@example.com,2026-02-01,2026-01-01"], 2, "before the start"),
        (["email,name", "a@example.com,=HYPERLINK(1)"], 2, "formula"),
        (["email,name", "a@example.com,Ana,Diaz"], 2, "3 cells but 2 columns"),
        (["email", "a@example.com", "b@example.com", "A@example.com"], 4, "line 2 already"),
        (["email,logins", "a@example.com,root", "b@example.com,root"], 3, "login root belongs to line 2"),
        (["email,aliases", "a@example.com,b@example.com", "b@example.com,"], 2, "belongs to line 3"),
        (["email,logins", "a@example.com,<x>"], 2, "no login"),
        (["email,manager", "a@example.com,Nobody Here"], 2, "Nobody here is called"),
        (["email,manager", "a@example.com,b@c"], 2, "no e-mail address"),
        (["email,name", 'a@example.com,"Ana'], 2, "never closed"),
        ([""], 1, "empty"),
        (["email\0"], 1, "NUL"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_what_to_do(rows: list[str], line: int, says: str) -> None:
    found = problems(lines(*rows))
    assert [number for number, _ in found] == [line]
    assert says in found[0][1]


def test_the_good_rows_are_there_beside_the_bad_one() -> None:
    found = lines("email", "ana@example.com", "nobody", "bea@example.com")
    assert [entry.email for entry in found.entries] == ["ana@example.com", "bea@example.com"]
    assert [one.line for one in found.problems] == [3]


def test_a_quoted_line_break_does_not_shift_the_numbers_of_lines() -> None:
    found = lines("email,name", 'ana@example.com,"Ana', 'Diaz"', "nobody,X")
    assert (found.entries, [one.line for one in found.problems]) == ((ANA,), [4])


def test_a_manager_is_found_by_name_where_one_person_has_it_and_never_guessed() -> None:
    head = "email,name,manager"
    found = lines(head, "ana@example.com,Ana Diaz,Bea Okoye", "bea@example.com,Bea Okoye,")
    assert found.entries[0].manager == "bea@example.com"
    two = lines(head, "ana@example.com,Ana,Bea", "b1@example.com,Bea,", "b2@example.com,Bea,")
    [(line, says)] = problems(two)
    assert (line, "2 people are called Bea (b1@example.com, b2@example.com)" in says) == (2, True)
    known = People([("slack", Entry(email="zoe@example.com", name="Zoe Lee"))])
    assert read(b"email,manager\nana@example.com,zoe lee", known).entries[0].manager == "zoe@example.com"


def test_two_people_of_one_name_are_taken_and_told() -> None:
    found = lines("email,name", "j1@example.com,Jo Lee", "j2@example.com,Jo Lee")
    assert len(found.entries) == 2
    assert "j1@example.com, j2@example.com" in found.notes[0]


def test_a_circle_of_managers_is_taken_and_told_with_what_follows() -> None:
    found = lines("email,manager", "ana@example.com,bea@example.com", "bea@example.com,ana@example.com")
    assert not found.problems
    assert any("ana@example.com → bea@example.com → ana@example.com" in note for note in found.notes)


CELLS = HOSTILE_TEXTS | st.sampled_from(["ana@example.com", "2026-01-01", "=1+1", "Ana", ""])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=10), max_size=8))
def test_whatever_a_file_holds_it_is_read_or_refused_with_a_line(rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["email", "name", "manager", "end date", "aliases", "logins"], *rows])
    found = read(out.getvalue().encode("utf-8", "replace"))
    assert all(one.line >= 1 and one.says for one in found.problems)
    assert len({entry.email for entry in found.entries}) == len(found.entries)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_that_are_no_csv_break_nothing(data: bytes) -> None:
    read(data)
