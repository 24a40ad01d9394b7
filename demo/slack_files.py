"""Files in the stand-in workspace: an address to upload to, the upload, and its completion. Pictures are kept only.

Three steps, as Slack has them: files.getUploadURLExternal, a POST of the bytes, files.completeUploadExternal.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.slack_state import Json, RefusalError

if TYPE_CHECKING:
    from demo.slack_state import State

FILE_BYTES_AT_MOST = 10_000_000


@dataclass(kw_only=True)
class File:
    """One file. `data` None: it was announced, and not uploaded yet; `complete` False: nobody can be shown it yet."""

    id: str
    name: str
    size: int
    ticket: str
    alt_text: str = ""
    data: bytes | None = None
    complete: bool = False
    title: str = ""

    def as_json(self) -> Json:
        """Return the file object that the completion answers."""
        return {"id": self.id, "name": self.name, "title": self.title or self.name, "size": self.size}


def get_upload_url(base: Callable[[], str]) -> Callable[[State, Json], Json]:
    """Return the method files.getUploadURLExternal of a workspace that is served at `base`."""

    def method(state: State, args: Json) -> Json:
        name, length = str(args.get("filename") or ""), str(args.get("length") or "")
        if not name or not length.isdecimal() or not 0 < int(length) <= FILE_BYTES_AT_MOST:
            raise RefusalError("invalid_arguments", "[ERROR] filename and length are needed")
        file = File(
            id=state.next_id("F"),
            name=name,
            size=int(length),
            ticket=secrets.token_urlsafe(24),
            alt_text=str(args.get("alt_txt") or ""),
        )
        state.files[file.id] = file
        return {"upload_url": f"{base()}/upload/{file.ticket}", "file_id": file.id}

    return method


def upload(state: State, ticket: str, data: bytes) -> int:
    """Take the bytes of an announced file; return the HTTP status."""
    file = next((each for each in state.files.values() if secrets.compare_digest(each.ticket, ticket)), None)
    if file is None or file.data is not None:
        return 404
    if len(data) != file.size:
        return 400
    file.data = data
    return 200


def complete_upload(state: State, args: Json) -> Json:
    """files.completeUploadExternal: from now on the file can be shown."""
    try:
        named: Any = json.loads(args["files"]) if isinstance(args.get("files"), str) else args["files"]
        pairs = [(str(each["id"]), str(each.get("title") or "")) for each in named]
    except (KeyError, TypeError, ValueError):
        raise RefusalError("invalid_arguments", "[ERROR] files is needed") from None
    done = []
    for file_id, title in pairs:
        file = state.files.get(file_id)
        if file is None or file.data is None:
            raise RefusalError("file_not_found")
        file.complete, file.title = True, title
        done.append(file.as_json())
    return {"files": done}


def refuse_unknown(state: State, blocks: Any) -> None:
    """Refuse blocks that show a file which is not there: Slack does, also while it is still processing one."""
    for block in blocks if isinstance(blocks, list) else ():
        shown = block.get("slack_file") if isinstance(block, dict) and block.get("type") == "image" else None
        if shown and "id" in shown:
            file = state.files.get(str(shown["id"]))
            if file is None or not file.complete:
                raise RefusalError("invalid_blocks", "[ERROR] invalid slack file [json-pointer:/blocks/slack_file]")
