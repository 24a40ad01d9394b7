"""Checkpoints: the form of the note, the key, what a seal shows of the ledger, and where it is kept."""

from __future__ import annotations

import email
import email.policy
import shutil
import socketserver
import stat
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from demo.cloud import Cloud
from demo.workspace import Workspace
from jobs import anchors, checkpoint, work
from jobs.program import Program, open_program
from nhi import checkpoint as notes
from nhi import erasure, ledger, proof
from nhi.anchors import parse
from nhi.checkpoint import BadNote, Signer, VerifierKey
from nhi.database import Sessions, reading
from nhi.errors import NhiError, PolicyError, SettingsError
from nhi.policy import parse as parse_policy
from nhi.settings import Settings
from nhi.tables import AnchorRow, AttestationRow, CheckpointRow, EventPrivateRow, EventRow
from tests.conftest import Clock, on_sqlite
from tests.factories import NOW, make_identity, make_owner, make_person
from tests.jobs_world import AWS

ROOT_OF_ONE = bytes(range(32))
# From the documentation of Go's golang.org/x/mod/sumdb/note, the first implementation of the form.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


@pytest.fixture
def signer() -> Signer:
    return Signer("example.com/nhi", Ed25519PrivateKey.generate())


# -- notes -------------------------------------------------------------------------------------------------------------


def test_a_note_is_three_lines_an_empty_one_and_a_signature(signer: Signer) -> None:
    lines = signer.sign(12, ROOT_OF_ONE).split("\n")
    assert lines[:4] == ["example.com/nhi", "12", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", ""]
    assert lines[4].startswith("— example.com/nhi ")
    assert lines[5:] == [""]
    assert notes.verify(signer.sign(12, ROOT_OF_ONE), signer.verifier) == notes.Checkpoint(
        origin="example.com/nhi", size=12, root=ROOT_OF_ONE
    )


def test_keys_are_read_and_written_as_others_do() -> None:
    key = VerifierKey.parse(GO_KEY)
    assert (key.name, key.id.hex(), str(key)) == ("PeterNeumann", "c74f20a3", GO_KEY)
    for broken in ("", "a+b", GO_KEY[:-1], GO_KEY.replace("c74f", "c74e"), GO_KEY.replace("+AR", "+BR")):
        with pytest.raises(BadNote):
            VerifierKey.parse(broken)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_other_note_passes_for_the_one_that_was_signed(data: st.DataObject) -> None:
    signer = Signer("a", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    note = signer.sign(7, ROOT_OF_ONE)
    at = data.draw(st.integers(0, len(note) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda one: one not in (note[at], "\r")))
    changed = note[:at] + other + note[at + 1 :]
    try:
        said = notes.verify(changed, signer.verifier)
    except BadNote:
        return
    assert said == notes.read(note)  # what is behind the last line says nothing


def test_a_note_of_another_key_or_name_is_refused(signer: Signer) -> None:
    note = signer.sign(1, ROOT_OF_ONE)
    same_name = Signer(signer.name, Ed25519PrivateKey.generate())
    with pytest.raises(BadNote, match="not signed by"):
        notes.verify(note, same_name.verifier)
    with pytest.raises(BadNote, match="not signed by"):
        notes.verify(note, VerifierKey(name="other", public=signer.verifier.public))


@pytest.mark.parametrize(
    "note", ["", "a", "a\n1\nxx\n", "a b\n1\nAA==\n", "a\n01\nAA==\n", "a\n-1\nAA==\n", "a\n1\nAA==\n"]
)
def test_what_is_no_checkpoint_is_refused_with_a_sentence(note: str) -> None:
    with pytest.raises(BadNote, match=r"no checkpoint|no base64"):
        notes.read(note)


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_key_is_written_for_its_owner_alone_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    notes.write_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    by_path, by_text = notes.read_signer(str(path), "a"), notes.read_signer(path.read_text(), "a")
    in_one_line = notes.read_signer(path.read_text().replace("\n", "\\n"), "a")  # as some hold it in an environment
    assert by_path.verifier == by_text.verifier == in_one_line.verifier
    with pytest.raises(SettingsError, match="never written over"):
        notes.write_key(path)


@pytest.mark.parametrize(
    "setting", [None, "", "/not/there.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_a_key_that_cannot_be_used_is_one_sentence_that_names_the_setting(setting: str | None) -> None:
    with pytest.raises(SettingsError, match="NHI_SIGNING_KEY"):
        notes.read_signer(setting, "a")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    pem = subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"], check=True, capture_output=True
    )
    with pytest.raises(SettingsError, match="another kind than Ed25519"):
        notes.read_signer(pem.stdout.decode(), "a")


# -- seals -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def program(settings: Settings, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    notes.write_key(tmp_path / "key.pem")
    signed = settings.model_copy(update={"nhi_signing_key": SecretStr(str(tmp_path / "key.pem"))})
    opened = open_program(signed, clock=clock)
    yield opened
    opened.engine.dispose()


def set_policy(program: Program, clock: Clock, *lines: str) -> None:
    program.settings.nhi_policy.write_text("[ledger]\n" + "\n".join(lines) + f"\n# {clock.now.isoformat()}\n")


def tell(program: Program, *kinds: str, **values: Any) -> None:
    with program.sessions.begin() as session:
        for kind in kinds:
            ledger.record(session, kind, now=program.clock(), **values)


def proved(program: Program, anchor: str | None = None) -> proof.Proved:
    with reading(program.sessions) as session:
        return proof.prove(session, keys=checkpoint.keys(program), anchor=anchor)


def test_a_seal_holds_size_and_root_of_the_events_and_is_made_once(program: Program) -> None:
    tell(program, "a.one", "a.two")
    made = checkpoint.seal(program, because="by hand")
    again = checkpoint.seal(program, because="by hand")

    assert (made.size, made.is_new, again.is_new, again.note) == (2, True, False, made.note)
    found = proved(program, made.note)
    assert (found.problems, found.checkpoints, found.sealed, found.unsealed_since) == ((), 1, 2, None)
    tell(program, "a.three")
    assert proved(program, made.note).unsealed_since == program.clock()
    assert checkpoint.seal(program, because="by hand").size == 3
    assert proved(program, made.note).problems == ()


@on_sqlite
def test_nothing_is_sealed_where_there_is_nothing(program: Program) -> None:
    assert checkpoint.seal(program, because="hourly").sentence() == "There is no event to seal yet."


def test_a_checkpoint_cannot_be_changed(program: Program) -> None:
    tell(program, "a.one")
    checkpoint.seal(program, because="by hand")
    for change in ("UPDATE checkpoint SET note = 'x'", "DELETE FROM checkpoint"):
        with pytest.raises(DBAPIError, match="append-only"), program.engine.begin() as connection:
            connection.execute(text(change))


@on_sqlite
def test_the_task_seals_once_an_hour_and_not_without_a_key(program: Program, clock: Clock, settings: Settings) -> None:
    tell(program, "a.one")
    work.task_checkpoint(program)
    tell(program, "a.two")
    work.task_checkpoint(program)
    assert sizes(program) == [1]
    clock.pass_by(hours=1)
    work.task_checkpoint(program)
    assert sizes(program) == [1, 2]

    without = open_program(settings, clock=clock)
    clock.pass_by(hours=1)
    tell(without, "a.three")
    work.task_checkpoint(without)
    without.engine.dispose()
    assert sizes(program) == [1, 2]


@on_sqlite
def test_a_reviews_close_is_sealed_at_the_next_tick_and_goes_out_at_once(
    program: Program, clock: Clock, tmp_path: Path
) -> None:
    set_policy(program, clock, f'anchors = ["file:{tmp_path}/kept"]')
    tell(program, "a.one")
    work.task_checkpoint(program)
    tell(program, "review.closed", facts={"quarter": "2026Q4"})
    work.task_checkpoint(program)
    work.task_checkpoint(program)

    assert sizes(program) == [1, 2]
    with reading(program.sessions) as session:
        assert session.get_one(CheckpointRow, 2).because == "review 2026Q4 closed"
    assert len(list((tmp_path / "kept").iterdir())) == 2


def sizes(program: Program) -> list[int]:
    with reading(program.sessions) as session:
        return [row.size for row in session.query(CheckpointRow).order_by(CheckpointRow.size)]


@on_sqlite
def test_checkpoints_of_a_former_key_count_where_policy_names_it(
    program: Program, clock: Clock, tmp_path: Path
) -> None:
    tell(program, "a.one")
    checkpoint.seal(program, because="by hand")
    former = str(checkpoint.signer(program).verifier)
    (tmp_path / "key.pem").unlink()
    notes.write_key(tmp_path / "key.pem")
    with pytest.raises(NhiError, match="is not signed by"):
        checkpoint.seal(program, because="by hand")
    set_policy(program, clock, f'former_keys = ["{former}"]')
    tell(program, "a.two")
    assert checkpoint.seal(program, because="by hand").size == 2


# -- what a seal shows, after somebody got past the triggers -----------------------------------------------------------


def tamper(engine: Engine, *statements: str) -> None:
    """Change history as who owns the database can: without the triggers."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            for verb in ("update", "delete"):
                connection.execute(text(f"DROP TRIGGER event_refuses_{verb}"))
        else:
            connection.execute(text("ALTER TABLE event DISABLE TRIGGER USER"))
        for statement in statements:
            connection.execute(text(statement))


def rehash(program: Program, first: int = 1) -> None:
    """Write the chain anew from an event on, as who owns the database can."""
    with program.sessions.begin() as session:
        rows = session.query(EventRow).order_by(EventRow.seq).all()
        prev = ledger.GENESIS
        for row in rows:
            body = row.body.replace("a.", "b.") if row.seq >= first else row.body
            digest = ledger.chain(prev, body)
            session.execute(
                text("UPDATE event SET body=:b, kind=replace(kind, 'a.', 'b.'), prev_hash=:p, hash=:h WHERE seq=:s")
                if row.seq >= first
                else text("UPDATE event SET body=:b, prev_hash=:p, hash=:h WHERE seq=:s"),
                {"b": body, "p": prev, "h": digest, "s": row.seq},
            )
            prev = digest


def test_a_ledger_written_anew_from_end_to_end_contradicts_its_seals(program: Program) -> None:
    tell(program, "a.one", "a.two", "a.three")
    note = checkpoint.seal(program, because="by hand").note
    tamper(program.engine)
    rehash(program)

    with reading(program.sessions) as session:
        assert ledger.verify(session).first_wrong is None  # the chain alone does not show it
    assert "written anew" in proved(program).problems[0]
    assert any("anchor" in problem for problem in proved(program, note).problems)
    with pytest.raises(NhiError, match="not sealed"):
        checkpoint.seal(program, because="by hand")


def test_a_tail_that_was_cut_is_seen_by_the_anchor_alone(program: Program) -> None:
    tell(program, "a.one", "a.two")
    checkpoint.seal(program, because="by hand")
    tell(program, "a.three")
    note = checkpoint.seal(program, because="by hand").note
    tamper(program.engine, "DELETE FROM event WHERE seq = 3")
    assert "here are 2" in proved(program).problems[0]  # the seal is left behind
    with program.engine.begin() as connection:
        drop = {
            "sqlite": "DROP TRIGGER checkpoint_refuses_delete",
            "postgresql": "ALTER TABLE checkpoint DISABLE TRIGGER USER",
        }
        connection.execute(text(drop[program.engine.dialect.name]))
        connection.execute(text("DELETE FROM checkpoint WHERE size = 3"))

    assert proved(program).problems == ()  # what is left was true once: nothing in the database can show more
    assert "here are 2: the end was cut" in proved(program, note).problems[0]


@on_sqlite
def test_a_seal_that_was_changed_is_named(program: Program) -> None:
    tell(program, "a.one")
    checkpoint.seal(program, because="by hand")
    with program.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER checkpoint_refuses_update"))
        connection.execute(text("UPDATE checkpoint SET root = :root"), {"root": "0" * 64})
    assert proved(program).problems == ("The checkpoint of 1 events: its columns do not say what its note says.",)


def test_a_personal_part_that_was_changed_or_added_is_named(program: Program) -> None:
    tell(program, "a.one", private={"email": "ana@example.com"})
    with program.sessions.begin() as session:
        session.query(EventPrivateRow).one().body = '{"email":"eve@example.com"}'
    assert proved(program).problems == ("Event 1: its personal part is not the one that was written.",)
    with program.sessions.begin() as session:
        session.query(EventPrivateRow).one().body = '{"email":"ana@example.com"}'
    tell(program, "a.two")
    with program.sessions.begin() as session:
        session.add(EventPrivateRow(seq=2, salt="00", body="{}"))
    assert proved(program).problems == ("Event 2: its personal part is not the one that was written.",)


# -- erasure -----------------------------------------------------------------------------------------------------------


def erase(sessions: Sessions, email: str) -> erasure.Erased:
    with sessions.begin() as session:
        return erasure.erase(session, email, now=NOW)


def test_a_persons_data_is_erased_and_the_ledger_tells_of_it(program: Program) -> None:
    tell(program, "a.one", private={"email": "ana@example.com"})
    tell(program, "a.two", private={"email": "diana@example.com", "words": "asked ANA@example.com."})
    tell(program, "a.three", private={"email": "diana@example.com"})
    note = checkpoint.seal(program, because="by hand").note
    with program.sessions.begin() as session:
        make_owner(session, make_identity(session), make_person(session))

    assert erase(program.sessions, "Ana@example.com ") == erasure.Erased(events=2, attestations=1, asks=0, owners=1)
    found = proved(program, note)
    assert (found.problems, found.verified.erased, found.verified.lost) == ((), 2, ())
    with reading(program.sessions) as session:
        assert [row.seq for row in session.query(EventPrivateRow)] == [3]
        assert session.query(AttestationRow).count() == 1
    assert erase(program.sessions, "ana@example.com").events == 0


def test_a_personal_part_that_is_gone_without_a_word_is_told_apart(program: Program) -> None:
    tell(program, "a.one", private={"email": "ana@example.com"})
    with program.sessions.begin() as session:
        session.delete(session.query(EventPrivateRow).one())
    assert proved(program).verified.lost == (1,)


def test_secrets_never_get_into_the_ledger(program: Program) -> None:
    tell(
        program,
        "a.one",
        facts={"name": "xoxb-12345678-abcdef", "xapp-1-ABCDEFGH": [{"key": "AKIAIOSFODNN7EXAMPLE"}]},
        private={"words": "it is ghp_abcdefghijklmnopqrstuvwxyz012345"},
    )
    with reading(program.sessions) as session:
        body, private = session.query(EventRow).one().body, session.query(EventPrivateRow).one().body
    assert '"facts":{"[redacted]":[{"key":"AKIAIOSFODNN7EXAMPLE"}],"name":"[redacted]"}' in body
    assert private == '{"words":"it is [redacted]"}'


# -- anchors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "slack:audit",
        "file:",
        "s3:bucket",
        "s3://B/x",
        "mailto:ana",
        "rfc3161:ftp://x",
        "rfc3161:https://u:p@x",
        "x:y",
        "",
    ],
)
def test_a_place_that_is_none_is_refused_with_examples(target: str) -> None:
    with pytest.raises(PolicyError, match="slack:#audit"):
        parse_policy({"ledger": {"anchors": [target]}})


def test_places_are_read() -> None:
    assert parse("s3://bucket/a/b/").where == "bucket/a/b"
    assert parse("rfc3161:https://tsa.example.com/x?y").where == "https://tsa.example.com/x?y"


def anchored(program: Program) -> dict[str, AnchorRow]:
    with reading(program.sessions) as session:
        return {row.target.partition(":")[0]: row for row in session.query(AnchorRow)}


@on_sqlite
def test_a_checkpoint_is_kept_as_a_file_that_is_never_written_over(
    program: Program, clock: Clock, tmp_path: Path
) -> None:
    set_policy(program, clock, f'anchors = ["file:{tmp_path}/kept"]')
    tell(program, "a.one")
    note = checkpoint.seal(program, because="by hand").note
    assert anchors.bring(program).kept == [f"file:{tmp_path}/kept"]
    kept = tmp_path / "kept" / "checkpoint-000000000001.note"
    assert kept.read_text() == note

    tell(program, "a.two")
    checkpoint.seal(program, because="by hand")
    (tmp_path / "kept" / "checkpoint-000000000002.note").write_text("something else")
    tally = anchors.bring(program)
    assert "says something else" in tally.waiting[0][1]
    assert anchors.bring(program).waiting == []  # it is tried again, later
    clock.pass_by(minutes=2)
    assert len(anchors.bring(program).waiting) == 1


@on_sqlite
def test_hourly_seals_go_out_once_a_day_and_others_at_once(program: Program, clock: Clock, tmp_path: Path) -> None:
    set_policy(program, clock, f'anchors = ["file:{tmp_path}/kept"]')
    for hour in range(26):
        tell(program, f"a.{hour}")
        checkpoint.seal(program, because="hourly", anchor_now=False)
        clock.pass_by(hours=1)
    tell(program, "a.last")
    checkpoint.seal(program, because="export of 2026Q4")
    anchors.bring(program)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "checkpoint-000000000001.note",
        "checkpoint-000000000025.note",
        "checkpoint-000000000027.note",
    ]


@on_sqlite
def test_a_checkpoint_is_posted_word_for_word_in_a_channel(
    program: Program, clock: Clock, workspace: Workspace
) -> None:
    set_policy(program, clock, 'anchors = ["slack:#security"]')
    tell(program, "a.one")
    note = checkpoint.seal(program, because="by hand").note
    anchors.bring(program)
    work.deliver_all(program)
    (message,) = workspace.as_("ana").messages("#security")
    assert message["blocks"][1]["elements"][0]["elements"][0]["text"] == note.rstrip()
    assert anchored(program)["slack"].state == "kept"


@on_sqlite
def test_a_bucket_with_object_lock_keeps_it_so_that_nobody_can_change_it(
    program: Program, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cloud(now=clock) as cloud:
        monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
        s3.create_bucket(Bucket="plain")
        set_policy(program, clock, 'anchors = ["s3://locked/nhi", "s3://plain", "s3://not-there"]', 'keep_for = "30d"')
        tell(program, "a.one")
        note = checkpoint.seal(program, because="by hand").note
        tally = anchors.bring(program)

        assert sorted(tally.kept) == ["s3://locked/nhi", "s3://plain"]
        assert "NoSuchBucket" in tally.waiting[0][1]
        kept = s3.get_object(Bucket="locked", Key="nhi/checkpoint-000000000001.note")
        assert kept["Body"].read().decode() == note
        assert kept["ObjectLockMode"] == "COMPLIANCE"
        assert kept["ObjectLockRetainUntilDate"] - clock.now == timedelta(days=30)
        assert s3.get_object(Bucket="plain", Key="checkpoint-000000000001.note")["Body"].read().decode() == note


class Mailbox(socketserver.StreamRequestHandler):
    """A mail server that takes one message at a time."""

    letters: ClassVar[list[bytes]] = []

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline():
            word = line.split()[0].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.letters.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


@on_sqlite
def test_a_checkpoint_is_sent_by_mail(program: Program, clock: Clock) -> None:
    set_policy(program, clock, 'anchors = ["mailto:audit@example.com"]', 'mail_from = "nhi@example.com"')
    tell(program, "a.one")
    note = checkpoint.seal(program, because="by hand").note
    assert "NHI_SMTP_URL is not set" in anchors.bring(program).waiting[0][1]

    clock.pass_by(minutes=2)
    Mailbox.letters.clear()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = SecretStr(f"smtp://127.0.0.1:{server.server_address[1]}")
        object.__setattr__(program, "settings", program.settings.model_copy(update={"nhi_smtp_url": url}))
        assert anchors.bring(program).kept == ["mailto:audit@example.com"]
        server.shutdown()
    (letter,) = Mailbox.letters
    message = email.message_from_bytes(letter, policy=email.policy.default)
    assert (message["To"], message["From"]) == ("audit@example.com", "nhi@example.com")
    (attached,) = message.iter_attachments()
    assert attached.get_payload(decode=True) == note.encode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A time-stamping authority's folder, made by openssl: root, certificate, settings."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which plays the time-stamping authority, is not installed")
    folder = tmp_path_factory.mktemp("tsa")
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(
        "[tsa]\ndefault_tsa = t\n[t]\nserial = serial\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\n"
        "digests = sha256, sha512\nordering = yes\ness_cert_id_alg = sha256\n"
        "[leaf]\nextendedKeyUsage = critical, timeStamping\nkeyUsage = critical, digitalSignature\n"
        "basicConstraints = critical, CA:FALSE\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"
        "[root]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\nsubjectKeyIdentifier = hash\n"
        "[req]\ndistinguished_name = dn\n[dn]\n"
    )
    new = ["-newkey", "rsa:2048", "-nodes", "-config", "tsa.cnf"]
    run(
        folder,
        "req",
        "-x509",
        *new,
        "-keyout",
        "root.key",
        "-out",
        "root.pem",
        "-subj",
        "/CN=Root",
        "-extensions",
        "root",
    )
    run(folder, "req", *new, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=TSA")
    signed = ["-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-extfile", "tsa.cnf", "-extensions", "leaf"]
    run(folder, "x509", "-req", "-in", "tsa.csr", *signed, "-days", "3650", "-out", "tsa.pem")
    return folder


def run(folder: Path, *words: str, given: bytes | None = None) -> bytes:
    return subprocess.run(["openssl", *words], cwd=folder, input=given, check=True, capture_output=True).stdout


@on_sqlite
def test_an_authority_stamps_the_time_on_a_checkpoint(
    program: Program, clock: Clock, authority: Path, tmp_path: Path
) -> None:
    class Stamps(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (authority / "asked").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            if "/broken" in self.path:
                self.send_error(500)
                return
            reply = ["-config", "tsa.cnf", "-queryfile", "asked", "-signer", "tsa.pem", "-inkey", "tsa.key"]
            answer = run(authority, "ts", "-reply", *reply)
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stamps)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    at = f"rfc3161:http://127.0.0.1:{server.server_port}"
    set_policy(program, clock, f'anchors = ["{at}/", "{at}/broken"]', f'tsa_roots = "{authority}/root.pem"')
    tell(program, "a.one")
    checkpoint.seal(program, because="by hand")
    tally = anchors.bring(program)
    assert (tally.kept, tally.waiting) == ([f"{at}/"], [(f"{at}/broken", "the authority answered 500")])
    kept = {row.target: row for row in rows_of(program)}[f"{at}/"]
    assert kept.receipt["signature"] == "checked"

    run(
        authority,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-config",
        "tsa.cnf",
        "-keyout",
        "o.key",
        "-out",
        "other.pem",
        "-subj",
        "/CN=Other",
        "-extensions",
        "root",
    )
    clock.pass_by(seconds=1)
    set_policy(program, clock, f'anchors = ["{at}/"]', f'tsa_roots = "{authority}/other.pem"')
    tell(program, "a.two")
    checkpoint.seal(program, because="by hand")
    assert "does not hold" in anchors.bring(program).waiting[0][1]
    server.shutdown()
    server.server_close()


def rows_of(program: Program) -> list[AnchorRow]:
    with reading(program.sessions) as session:
        return list(session.query(AnchorRow))
