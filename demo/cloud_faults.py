"""What can be wrong with the stand-in cloud: denials, throttling, latency, broken answers. Set from the outside."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree as Xml

from werkzeug.wrappers import Response

NS = "https://iam.amazonaws.com/doc/2010-05-08/"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came in."""

    action: str  # "iam:ListAccessKeys"
    parameters: Mapping[str, str]
    access_key: str  # the caller's
    page: int  # 1 for the first, by the marker that this cloud gave
    region: str = ""


@dataclass(kw_only=True)
class Fault:
    """What is answered instead, to requests that fit. `times` None: always."""

    action: str
    answer: Callable[[Asked], Response]
    user: str | None = None
    page: int | None = None
    times: int | None = None

    def takes(self, asked: Asked) -> bool:
        fits = (
            self.action in (asked.action, "*")
            and self.user in (None, asked.parameters.get("UserName"))
            and self.page in (None, asked.page)
            and self.times != 0
        )
        if fits and self.times is not None:
            self.times -= 1
        return fits


@dataclass
class Faults:
    """Everything that can be wrong with a cloud, set from the outside."""

    latency: float = 0.0  # seconds before every answer
    throttle: float | None = None  # calls a second that are answered; the others are told Throttling
    report_polls: int = 0  # how many GenerateCredentialReport say "in progress" before one says "complete"
    update_lag: int = 0  # how many ListAccessKeys still show a key's old status after UpdateAccessKey
    _faults: list[Fault] = field(default_factory=list)
    _tokens: float = 0.0
    _refilled: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def deny(
        self, action: str, *, user: str | None = None, code: str = "AccessDenied", page: int | None = None
    ) -> None:
        self.add(Fault(action=action, answer=lambda asked: refuse(asked, 403, code), user=user, page=page))

    def fail(self, action: str, *, status: int = 500, page: int | None = None, times: int | None = None) -> None:
        self.add(
            Fault(action=action, answer=lambda asked: refuse(asked, status, "ServiceFailure"), page=page, times=times)
        )

    def garble(self, action: str, body: bytes = b"<html>no", *, page: int | None = None) -> None:
        self.add(Fault(action=action, answer=lambda _: Response(body, mimetype="text/xml"), page=page))

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
        self.latency, self.throttle, self.report_polls, self.update_lag = 0.0, None, 0, 0

    def meet(self, asked: Asked) -> Response | None:
        """Return the answer of the first fault that takes the request; None: there is none."""
        time.sleep(self.latency)
        with self._lock:
            if self._is_throttled():
                return refuse(asked, 400, "Throttling")
            fault = next((fault for fault in self._faults if fault.takes(asked)), None)
        return None if fault is None else fault.answer(asked)

    def _is_throttled(self) -> bool:
        if self.throttle is None:
            return False
        now = time.monotonic()
        self._tokens = min(self.throttle, self._tokens + (now - self._refilled) * self.throttle)
        self._refilled = now
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False


def refuse(asked: Asked, status: int, code: str) -> Response:
    message = f"{asked.action} is not to be had: {code}"
    if not asked.action.startswith(("iam:", "sts:")):
        body = json.dumps({"__type": f"{code}Exception", "message": message})
        return Response(body, status=400 if status < 500 else status, mimetype="application/x-amz-json-1.1")
    root = Xml.Element("ErrorResponse", xmlns=NS)
    error = Xml.SubElement(root, "Error")
    for name, value in {"Type": "Sender", "Code": code, "Message": message}.items():
        Xml.SubElement(error, name).text = value
    return Response(Xml.tostring(root), status=status, mimetype="text/xml")
