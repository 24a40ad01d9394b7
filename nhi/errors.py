"""Every error that this program raises on purpose.

NhiError                 one sentence, the way out, and whether trying again can help
├── SettingsError        a setting is missing or wrong: names it and where to set it   (exit status 2)
│   └── PolicyError      policy.toml cannot be read or holds what it may not
├── DatabaseNotReady     the schema is missing or old: names the command to run        (exit status 2)
├── DatabaseFailed       the database failed while it was used: full, out of reach, held by another
├── NotAllowed           this person may not do this
├── AlreadyAnswered      somebody was faster: says who, and what they said
├── OutOfDate            this card or button no longer stands for anything that can be done
├── BadAnswer            what a person typed cannot be taken; names the field
├── ProviderError        a cloud said no
│   └── Refused          a planned act was looked at again and not done
└── SlackError           Slack said no
"""

from __future__ import annotations


class NhiError(Exception):
    """An error that is shown to people as it stands.

    `permanent` is True where trying the same again cannot help.
    """

    permanent = True

    def __init__(self, message: str, *, permanent: bool | None = None) -> None:
        super().__init__(message)
        if permanent is not None:
            self.permanent = permanent


class SettingsError(NhiError):
    """A setting is missing or wrong."""


class PolicyError(SettingsError):
    """policy.toml cannot be read, or holds what it may not."""


class DatabaseNotReady(NhiError):
    """The database has no schema, or an older one than this program needs."""


class DatabaseFailed(NhiError):
    """The database failed while it was used; what was written before is whole."""

    permanent = False


class NotAllowed(NhiError):
    """This person may not do this."""


class AlreadyAnswered(NhiError):
    """Somebody answered before; the message says who and what."""


class OutOfDate(NhiError):
    """The card or button no longer stands for anything that can be done."""


class BadAnswer(NhiError):
    """What a person typed cannot be taken. `field` names the form's field."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class ProviderError(NhiError):
    """A cloud said no. `code` is the cloud's own error code."""

    def __init__(self, message: str, *, code: str, permanent: bool) -> None:
        super().__init__(message, permanent=permanent)
        self.code = code


class Refused(ProviderError):
    """A planned act was looked at again and must not be done; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="Refused", permanent=True)


class SlackError(NhiError):
    """Slack said no. `code` is Slack's own error code."""

    def __init__(self, message: str, *, code: str, permanent: bool) -> None:
        super().__init__(message, permanent=permanent)
        self.code = code
