"""An incident in the sample company: a key that does every weekday the same, and this morning what it never did."""

from __future__ import annotations

from datetime import datetime, timedelta

from demo.cloud import Cloud

USER, OWNER = "payments-settlement", "bea"
_EVERY_DAY = ((8, "sqs:ReceiveMessage"), (10, "dynamodb:Query"), (14, "s3:PutObject"))  # the hour, UTC
_DAYS = 28
_AGO = timedelta(minutes=50)
_STRANGER = {"address": "203.0.113.77", "agent": "aws-cli/2.30 md/awscrt os/linux#kali"}
_THIS_MORNING = ("sts:GetCallerIdentity", "secretsmanager:ListSecrets", "iam:CreateUser", "iam:CreateAccessKey")


def plant(cloud: Cloud, key_id: str, now: datetime) -> None:
    """Let the audit trail tell of four quiet weeks, and of what somebody else did with the key within the hour."""
    for back in range(1, _DAYS + 1):
        day = now - timedelta(days=back)
        if day.weekday() < 5:
            for hour, action in _EVERY_DAY:
                at = day.replace(hour=hour, minute=20, second=0, microsecond=0)
                cloud.add_use(action, user=USER, key_id=key_id, at=at)
    for number, action in enumerate(_THIS_MORNING):
        at = now - _AGO + timedelta(seconds=40 * number)
        cloud.add_use(action, user=USER, key_id=key_id, at=at, **_STRANGER)
