"""The figures under `/metrics`: counted here as things happen, or read from the database when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from nhi.database import Sessions, reading
from nhi.findings import FindingStatus
from nhi.tables import DeliveryRow, FindingRow, InboxRow

COUNTED = CollectorRegistry()
CLICKS = Counter("nhi_answers", "Answers that were recorded, by verdict.", ["verdict"], registry=COUNTED)
REFUSALS = Counter("nhi_refusals", "Answers that were not taken, by reason.", ["reason"], registry=COUNTED)
REQUESTS = Counter("nhi_slack_requests", "Requests on Slack's path, by HTTP status.", ["status"], registry=COUNTED)
ACK_SECONDS = Histogram(
    "nhi_ack_seconds",
    "Seconds from a request's arrival to its acknowledgement; Slack gives up after 3.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0),
    registry=COUNTED,
)
DECIDED_SECONDS = Histogram(
    "nhi_decided_seconds",
    "Seconds from a click's arrival to its decision, of those that are decided after their acknowledgement.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
    registry=COUNTED,
)


class FromRows(Collector):
    """What the database knows, counted at the moment of asking."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def collect(self) -> Iterator[GaugeMetricFamily]:
        open_findings = GaugeMetricFamily("nhi_open_findings", "Findings that are not resolved.", labels=["kind"])
        deliveries = GaugeMetricFamily("nhi_deliveries", "Messages in the outbox.", labels=["state"])
        inbox = GaugeMetricFamily("nhi_inbox", "Clicks that are acknowledged, and not decided yet.", labels=[])
        kinds = select(FindingRow.kind, func.count()).where(FindingRow.status != FindingStatus.RESOLVED)
        with reading(self._sessions) as session:
            for kind, count in session.execute(kinds.group_by(FindingRow.kind)):
                open_findings.add_metric([kind.value], count)
            states = select(DeliveryRow.state, func.count()).group_by(DeliveryRow.state)
            for state, count in session.execute(states):
                deliveries.add_metric([state], count)
            waiting = select(func.count()).select_from(InboxRow).where(InboxRow.decided_at.is_(None))
            inbox.add_metric([], session.scalar(waiting) or 0)
        yield open_findings
        yield deliveries
        yield inbox


def exposition(sessions: Sessions) -> bytes:
    """Return everything in Prometheus's text format."""
    at_once = CollectorRegistry()
    at_once.register(FromRows(sessions))
    return generate_latest(COUNTED) + generate_latest(at_once)
