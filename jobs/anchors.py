"""Bring checkpoints to where policy keeps them: each row is claimed, brought, and its receipt written down.

Whatever fails is tried again, later and later. Bringing the same note twice does no harm: it says the same.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerificationError, VerifierBuilder
from rfc3161_client import decode_timestamp_response as decode
from sqlalchemy import or_, select, update

from bot import delivery
from jobs.checkpoint import DEAD, KEPT, WAITING
from jobs.program import Program
from nhi.anchors import Place, Target, parse
from nhi.errors import NhiError
from nhi.tables import AnchorRow

log = logging.getLogger(__name__)

Json = dict[str, Any]
LEASE = timedelta(minutes=5)
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=6)
TRIES = 60  # about two weeks
SECONDS = 20  # of patience with one place
LONGEST_STAMP = 200_000  # bytes of a time stamp


class NotKept(NhiError):
    """A place did not take the checkpoint; the message says why."""


@dataclass
class Tally:
    """What one run brought, and what is still to be brought."""

    kept: list[str] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)

    def sentence(self) -> str:
        """Return the run's account."""
        text = f"Brought {len(self.kept)} checkpoints to where they are kept."
        if self.waiting:
            text += " Not yet: " + "; ".join(f"{target} ({why})" for target, why in self.waiting) + "."
        return text


def bring(program: Program) -> Tally:
    """Bring every checkpoint that is due to its place."""
    tally = Tally()
    now = program.clock()
    with program.sessions() as session:
        free = or_(AnchorRow.claimed_until.is_(None), AnchorRow.claimed_until <= now)
        due = select(AnchorRow.id).where(AnchorRow.state == WAITING, AnchorRow.not_before <= now, free)
        ids = list(session.scalars(due.order_by(AnchorRow.size, AnchorRow.target)))
    for anchor_id in ids:
        row = _claim(program, anchor_id, now)
        if row is not None:
            _one(program, row, tally)
    return tally


def _claim(program: Program, anchor_id: str, now: datetime) -> AnchorRow | None:
    with program.sessions.begin() as session:
        free = or_(AnchorRow.claimed_until.is_(None), AnchorRow.claimed_until <= now)
        taken = session.execute(
            update(AnchorRow)
            .where(AnchorRow.id == anchor_id, AnchorRow.state == WAITING, free)
            .values(claimed_until=now + LEASE, attempts=AnchorRow.attempts + 1)
            .execution_options(synchronize_session=False)
        )
        return session.get_one(AnchorRow, anchor_id) if taken.rowcount == 1 else None  # type: ignore[attr-defined]


def _one(program: Program, row: AnchorRow, tally: Tally) -> None:
    try:
        target = parse(row.target)
        if target.place is Place.SLACK:
            _slack(program, row, target)
        else:
            _kept(program, row, BRING[target.place](program, row, target))
    except (NotKept, ValueError, OSError, smtplib.SMTPException, BotoCoreError, ClientError) as error:
        _later(program, row, error, tally)
    else:
        tally.kept.append(row.target)


def _kept(program: Program, row: AnchorRow, receipt: Json) -> None:
    with program.sessions.begin() as session:
        kept = session.get_one(AnchorRow, row.id)
        kept.state, kept.receipt, kept.kept_at = KEPT, receipt, program.clock()
        kept.claimed_until = kept.error = None


def _later(program: Program, row: AnchorRow, error: Exception, tally: Tally) -> None:
    why = str(error) or type(error).__name__
    log.warning("the checkpoint of %d events is not kept at %s yet: %s", row.size, row.target, why)
    tally.waiting.append((row.target, why))
    with program.sessions.begin() as session:
        kept = session.get_one(AnchorRow, row.id)
        kept.error, kept.claimed_until = why, None
        kept.not_before = program.clock() + min(FIRST_WAIT * 2 ** min(row.attempts - 1, 20), LONGEST_WAIT)
        if row.attempts >= TRIES:
            kept.state = DEAD


def _name(row: AnchorRow) -> str:
    return f"checkpoint-{row.size:012d}.note"


# -- places ------------------------------------------------------------------------------------------------------------


def _slack(program: Program, row: AnchorRow, target: Target) -> None:
    """Hand the note to the outbox, which says it once, in the transaction that calls it kept."""
    if program.slack is None:
        raise NotKept("no Slack bot token is set")
    with program.sessions.begin() as session:
        kept = session.get_one(AnchorRow, row.id)
        words = {"note": row.checkpoint.note, "size": row.size}
        said = delivery.queue(session, "checkpoint", target.where, words, (), program.clock())
        kept.state, kept.receipt, kept.kept_at = KEPT, {"delivery": said.id}, program.clock()
        kept.claimed_until = kept.error = None


def _file(program: Program, row: AnchorRow, target: Target) -> Json:
    """Write a file of its own, whole or not at all; one that is there already and says the same is as good."""
    folder = Path(target.where).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _name(row)
    note = row.checkpoint.note.encode()
    try:
        with path.open("xb") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        path.chmod(0o444)
    except FileExistsError:
        if path.read_bytes() != note:
            raise NotKept(f"{path} is there already and says something else") from None
    return {"path": str(path)}


def _s3(program: Program, row: AnchorRow, target: Target) -> Json:
    """Put an object; where the bucket has Object Lock, it cannot be changed or deleted while it is kept."""
    import boto3
    from botocore.config import Config

    bucket, _, prefix = target.where.partition("/")
    client = boto3.client("s3", config=Config(connect_timeout=SECONDS, read_timeout=SECONDS))
    key = f"{prefix}/{_name(row)}" if prefix else _name(row)
    lock: Json = {}
    locked = _lock_of(client, bucket)
    if locked == "without retention":
        until = program.clock() + program.policy().ledger.keep_for
        lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    put = client.put_object(
        Bucket=bucket,
        Key=key,
        Body=row.checkpoint.note.encode(),
        ContentType="text/plain; charset=utf-8",
        ChecksumAlgorithm="SHA256",
        **lock,
    )
    return {"bucket": bucket, "key": key, "version": put.get("VersionId"), "object_lock": locked or "none"}


def _lock_of(client: Any, bucket: str) -> str | None:
    """Return whether a bucket has Object Lock, and a retention of its own; None: it has none, or it may not be seen."""
    try:
        found = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    except ClientError:
        return None
    if found.get("ObjectLockEnabled") != "Enabled":
        return None
    return "the bucket's own retention" if found.get("Rule") else "without retention"


def _mail(program: Program, row: AnchorRow, target: Target) -> Json:
    setting = program.settings.nhi_smtp_url
    if setting is None:
        raise NotKept(
            "NHI_SMTP_URL is not set: it names the mail server, like smtp://user:password@mail.example.com:587"
        )
    message = EmailMessage()
    message["Subject"] = f"Checkpoint of {row.checkpoint.note.partition(chr(10))[0]}: {row.size} events"
    message["From"] = program.policy().ledger.mail_from
    message["To"] = target.where
    message["Message-ID"] = f"<{row.id}@nhi-ledger>"  # the same on a second try, so that a mailbox can tell
    message.set_content(
        "Keep this. It shows later that nothing was changed in, or cut from, the history up to here:\n"
        "`nhi ledger verify --anchor FILE`, with the lines below in that file.\n\n"
        f"{row.checkpoint.note}"
    )
    note = row.checkpoint.note.encode()  # as bytes, so that no mail server writes its lines anew
    message.add_attachment(note, maintype="text", subtype="plain", filename=_name(row))
    with _mail_server(setting.get_secret_value()) as server:
        server.send_message(message)
    return {"to": target.where, "message_id": message["Message-ID"]}


def _mail_server(url: str) -> smtplib.SMTP:
    """Open the mail server of an address; with a password only over TLS."""
    parts = urlsplit(url)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise NotKept("NHI_SMTP_URL is no address of a mail server; it looks like smtp://user:password@host:587")
    context = ssl.create_default_context()
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(parts.hostname, parts.port or 465, timeout=SECONDS, context=context)
    else:
        server = smtplib.SMTP(parts.hostname, parts.port or 25, timeout=SECONDS)
        if parts.username or (server.ehlo()[0] == 250 and server.has_extn("starttls")):
            server.starttls(context=context)
    if parts.username:
        server.login(unquote(parts.username), unquote(parts.password or ""))
    return server


def _timestamp(program: Program, row: AnchorRow, target: Target) -> Json:
    """Have an authority sign that the note was there at its time (RFC 3161), and keep what it signed."""
    note = row.checkpoint.note.encode()
    request = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA256).nonce(nonce=True).build()
    answer = _post(target.where, request.as_bytes())
    response = decode(answer)
    if response.status not in (0, 1):
        raise NotKept(f"the authority refused (status {response.status})")
    told = response.tst_info
    if told.message_imprint.message != hashlib.sha256(note).digest() or told.nonce != request.nonce:
        raise NotKept("the authority's time stamp is of something else")
    roots = program.policy().ledger.tsa_roots
    if roots is not None:
        _check_stamp(roots, response, note)
    stamped: datetime = told.gen_time
    return {
        "at": stamped.isoformat(),
        "token": base64.b64encode(answer).decode(),
        "signature": "checked" if roots else "not checked: policy names no tsa_roots",
    }


def _check_stamp(roots: Path, response: Any, note: bytes) -> None:
    builder = VerifierBuilder()
    for certificate in x509.load_pem_x509_certificates(roots.read_bytes()):
        builder = builder.add_root_certificate(certificate)
    try:
        builder.build().verify_message(response, note)
    except VerificationError as error:
        raise NotKept(f"the time stamp's signature does not hold: {error}") from None


def _post(url: str, body: bytes) -> bytes:
    headers = {"Content-Type": "application/timestamp-query"}
    asked = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310  # policy takes only http and https
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:  # noqa: S310
            return bytes(answer.read(LONGEST_STAMP))
    except urllib.error.HTTPError as error:
        error.close()
        raise NotKept(f"the authority answered {error.code}") from None


BRING: dict[Place, Callable[[Program, AnchorRow, Target], Json]] = {
    Place.FILE: _file,
    Place.S3: _s3,
    Place.MAIL: _mail,
    Place.TIMESTAMP: _timestamp,
}
