"""Countries come from a file of the customer's own, and from nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from nhi.activity import Place
from nhi.countries import name_of
from nhi.errors import PolicyError
from nhi.places import Places
from tests import mmdb_file

DUBLIN = {"country": {"iso_code": "IE"}, "location": {"latitude": 53.34, "longitude": -6.26}}
BRAZIL = {"country": {"iso_code": "BR"}}


@pytest.fixture
def city_file(tmp_path: Path) -> Path:
    path = tmp_path / "city.mmdb"
    mmdb_file.write(path, {"198.51.100.0/24": DUBLIN, "203.0.113.0/24": BRAZIL, "192.0.2.0/24": {}})
    return path


def test_an_address_is_where_the_file_says(city_file: Path) -> None:
    places = Places(city_file)
    assert places.of("198.51.100.7") == Place("IE", 53.34, -6.26)
    assert places.of("203.0.113.1") == Place("BR")
    assert [places.of(address) for address in ("192.0.2.1", "10.0.0.1", "no address")] == [None, None, None]
    places.close()
    assert Place("IE", 53.34, -6.26).mark == "IE:53,-6"


def test_a_file_that_is_broken_within_tells_nothing_of_that_address_and_is_said(city_file: Path) -> None:
    whole = city_file.read_bytes()
    at = whole.index(b"country") - 1
    city_file.write_bytes(whole[: at - 1] + b"\x20\xff" + whole[at + 1 :])  # a pointer to nowhere
    places = Places(city_file)
    assert [places.of(f"198.51.100.{number}") for number in (7, 8)] == [None, None]
    assert (places.fault or "").startswith("UnreadableCountries: ")
    places.close()


def test_a_file_of_countries_tells_no_degrees(tmp_path: Path) -> None:
    path = tmp_path / "country.mmdb"
    mmdb_file.write(path, {"198.51.100.0/24": DUBLIN}, kind="GeoLite2-Country")
    places = Places(path)
    assert places.of("198.51.100.7") == Place("IE")
    places.close()


def test_without_a_file_no_country_is_told() -> None:
    assert Places(None).of("198.51.100.7") is None


@pytest.mark.parametrize("content", [None, b"no such format"])
def test_a_file_that_cannot_be_read_is_said_with_the_way_out(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyError, match=r"`activity\.countries` names .*leave the key out"):
        Places(path)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "asn.mmdb"
    mmdb_file.write(path, {"198.51.100.0/24": DUBLIN}, kind="GeoLite2-ASN")
    with pytest.raises(PolicyError, match="of the kind 'GeoLite2-ASN'"):
        Places(path)


def test_countries_are_called_by_their_names() -> None:
    assert [name_of(code) for code in ("IE", "BR", "XX")] == ["Ireland", "Brazil", "XX"]
