"""How the stand-in reaches the app: over Socket Mode where the app is connected, else by signed HTTP requests.

The app has three seconds. Clicks, submissions and commands are tried once; events three times more.
"""

import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from demo.slack_socket import Links
from demo.slack_state import Json

PATIENCE_SECONDS = 3.0
TIMED_OUT = "operation_timeout"
UNREACHABLE = "dispatch_failed"
WRONG_STATUS = "http_service_error"


@dataclass(frozen=True, kw_only=True)
class Ack:
    """What the app answered. `error` is None where it acknowledged in time; else Slack's word for what went wrong."""

    error: str | None = None
    status: int | None = None  # None over Socket Mode, or where no answer came
    body: str = ""

    def json(self) -> Json:
        """Return the answered object; a bare string becomes its `text`, as Slack reads it."""
        if not self.body.strip():
            return {}
        try:
            decoded = json.loads(self.body)
        except ValueError:
            return {"text": self.body}
        return decoded if isinstance(decoded, dict) else {"text": self.body}


def sign(secret: str, body: bytes, timestamp: str) -> str:
    """Return the X-Slack-Signature of a body (scheme v0)."""
    base = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()


def post(url: str, body: bytes, headers: Mapping[str, str], patience: float = PATIENCE_SECONDS) -> Ack:
    """POST once, straight to the address and past any proxy, and wait `patience` seconds for the answer."""
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname or "127.0.0.1", target.port or 80, timeout=patience)
    try:
        connection.request("POST", target.path or "/", body, dict(headers))
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except TimeoutError:
        return Ack(error=TIMED_OUT)
    except (OSError, http.client.HTTPException):
        return Ack(error=UNREACHABLE)
    finally:
        connection.close()
    return Ack(error=None if answer.status == 200 else WRONG_STATUS, status=answer.status, body=text)


class Delivery:
    """Sends payloads to one app and remembers each, so that a test can replay or count them."""

    def __init__(self, links: Links, secret: str, app_url: Callable[[], str | None]) -> None:
        self.links = links
        self.secret = secret
        self.app_url = app_url
        self.patience = PATIENCE_SECONDS
        # Slack waits nothing, a minute and five minutes before the three retries; a stand-in need not.
        self.retry_delays = (0.0, 0.05, 0.1)
        self.sent: list[Json] = []

    def interactive(self, payload: Json) -> Ack:
        """Deliver a click, a submission or a closed modal, once."""
        body = urlencode({"payload": json.dumps(payload)}).encode()
        return self._deliver("interactive", payload, body, "application/x-www-form-urlencoded")

    def command(self, payload: Json) -> Ack:
        """Deliver a slash command, once."""
        body = urlencode(payload).encode()
        return self._deliver("slash_commands", payload, body, "application/x-www-form-urlencoded")

    def event(self, payload: Json) -> Ack:
        """Deliver an event, up to four times in all until the app acknowledges it."""
        body = json.dumps(payload).encode()
        ack = self._deliver("events_api", payload, body, "application/json")
        for number, delay in enumerate(self.retry_delays, start=1):
            if ack.error is None:
                break
            time.sleep(delay)
            reason = "http_timeout" if ack.error == TIMED_OUT else "http_error"
            ack = self._deliver("events_api", payload, body, "application/json", number, reason)
        return ack

    def _deliver(self, kind: str, payload: Json, body: bytes, content: str, retry: int = 0, reason: str = "") -> Ack:
        self.sent.append({"kind": kind, "payload": payload, "retry": retry})
        if link := self.links.any():
            try:
                answer = link.ask(kind, payload, self.patience, retry, "timeout" if retry else "")
            except OSError:
                return Ack(error=UNREACHABLE)
            return Ack(error=TIMED_OUT) if answer is None else Ack(body=_text(answer.get("payload")))
        headers = {"Content-Type": content}
        if retry:
            headers |= {"X-Slack-Retry-Num": str(retry), "X-Slack-Retry-Reason": reason}
        return self.post_signed(body, headers)

    def post_signed(self, body: bytes, headers: Mapping[str, str]) -> Ack:
        """POST a body with Slack's signature; `headers` may overwrite the signature and its timestamp."""
        url = self.app_url()
        if not url:
            return Ack(error=UNREACHABLE)
        # Bolt judges the age by the real time of day, so a pretend clock must not reach the signature.
        timestamp = headers.get("X-Slack-Request-Timestamp", str(int(time.time())))
        signature = sign(self.secret, body, timestamp)
        own = {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature, "User-Agent": "Slackbot 1.0"}
        return post(url, body, own | dict(headers), self.patience)


def _text(payload: object) -> str:
    return "" if payload is None else json.dumps(payload)
