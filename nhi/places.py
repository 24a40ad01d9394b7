"""Where an address is, from a file in MaxMind's format that policy names. Without one, no country is ever told."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import geoip2.database
from geoip2.errors import AddressNotFoundError
from maxminddb import InvalidDatabaseError

from nhi.activity import Place
from nhi.errors import PolicyError
from nhi.words import sentence

_STRANGE = (AttributeError, LookupError, OverflowError, RecursionError, TypeError)  # data of no known shape


class Places:
    """The file, open. Close it."""

    def __init__(self, path: Path | None) -> None:
        """Open the file. Raises PolicyError where it cannot be read, or tells no countries."""
        self._reader: geoip2.database.Reader | None = None
        self._by_city = False
        self.fault: str | None = None  # why the file could not tell of some address; None: it could tell of each
        if path is not None:
            try:
                self._reader = geoip2.database.Reader(path)
            except (OSError, InvalidDatabaseError) as error:
                raise PolicyError(
                    f"`activity.countries` names {path}, which is no readable MaxMind DB file ({error});"
                    " name a country or city file, or leave the key out"
                ) from None
            kind = self._reader.metadata().database_type
            self._by_city = "City" in kind
            if not ("Country" in kind or self._by_city):
                raise PolicyError(
                    f"`activity.countries` names {path}, which is of the kind {kind!r}; name a country or city file"
                )
        self.of = lru_cache(maxsize=100_000)(self._of)

    def _of(self, address: str) -> Place | None:
        """Return where an address is; None: the file does not tell."""
        if self._reader is None:
            return None
        try:
            found: Any = self._reader.city(address) if self._by_city else self._reader.country(address)
        except (AddressNotFoundError, ValueError):
            return None
        except (InvalidDatabaseError, *_STRANGE) as error:
            self.fault = self.fault or sentence("clouds.gap_countries_broken", address=address, error=error)
            return None
        code = found.country.iso_code
        if not code:
            return None
        latitude, longitude = (found.location.latitude, found.location.longitude) if self._by_city else (None, None)
        return Place(code) if latitude is None or longitude is None else Place(code, latitude, longitude)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
