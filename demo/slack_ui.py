"""What the page at `/` asks for and does: one snapshot a person, and a handful of verbs.

The page acts for any person in the pretend company, so the only wall is around the browser: loopback hosts (checked by
the server), the page's own origin, and JSON bodies, which no form on another site can send.
"""

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from demo.slack_api import members_of
from demo.slack_hands import Outcome
from demo.slack_server import Request, Response, as_json
from demo.slack_state import BOT_USER_ID, Channel, Json, Message, View
from demo.slack_values import state_values

if TYPE_CHECKING:
    from demo.workspace import Workspace

STATIC = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page_blocks.js": ("page_blocks.js", "text/javascript; charset=utf-8"),
    "/page_text.js": ("page_text.js", "text/javascript; charset=utf-8"),
    "/page_modal.js": ("page_modal.js", "text/javascript; charset=utf-8"),
}
SAFE_HEADERS = {
    # The page never loads anything from elsewhere, whatever a message holds.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
POLL_SECONDS = 8.0
LOOK_AGAIN_SECONDS = 0.5
MESSAGES_SHOWN = 200


def serve_file(path: str) -> Response | None:
    """Return one of the page's files, or None where there is none at this path."""
    if path == "/favicon.ico":
        return Response(status=204)
    if path not in STATIC:
        return None
    name, content_type = STATIC[path]
    return Response(body=files("demo").joinpath(name).read_bytes(), content_type=content_type, headers=SAFE_HEADERS)


def serve_ui(workspace: "Workspace", request: Request) -> Response:
    """Answer a request of the page."""
    origin = request.headers.get("origin")
    if origin and origin != f"http://{request.headers.get('host')}":
        return as_json({"error": "This page's own origin only."}, 403)
    try:
        return _serve(workspace, request)
    except (LookupError, ValueError, TypeError) as error:
        return as_json({"error": f"That does not fit: {error}"}, 400)


def _serve(workspace: "Workspace", request: Request) -> Response:
    if request.method == "GET" and request.path == "/ui/state":
        return as_json(await_snapshot(workspace, request))
    verb = VERBS.get(request.path.removeprefix("/ui/"))
    if request.method != "POST" or verb is None:
        return as_json({"error": "There is nothing here."}, 404)
    if not request.is_json:
        return as_json({"error": "JSON only."}, 415)
    return as_json(verb(workspace, request.arguments()))


def await_snapshot(workspace: "Workspace", request: Request) -> Json:
    """Return a person's snapshot as soon as it differs from the one that the page has, or after a few seconds."""
    person = workspace.state.person(request.query.get("as") or workspace.people[0].name)
    since, seen = request.query.get("since", ""), request.query.get("world", "")
    waited = 0.0
    while True:
        world = workspace.world_rows()
        mark = str(hash(repr(world)))
        with workspace.state.changed:
            if since != str(workspace.state.version) or seen != mark or waited >= POLL_SECONDS or workspace.stopping:
                return snapshot(workspace, person.user_id) | {"world": world, "world_mark": mark}
            workspace.state.changed.wait(LOOK_AGAIN_SECONDS)
        waited += LOOK_AGAIN_SECONDS


def snapshot(workspace: "Workspace", user: str) -> Json:
    """Return all that one person sees."""
    state = workspace.state
    with state.lock:
        state.direct_message(user)
        stack = state.modals.get(user, [])
        home = state.homes.get(user)
        return {
            "version": state.version,
            "workspace": workspace.name,
            "now": state.now().isoformat(),
            "me": user,
            "bot": BOT_USER_ID,
            "can_turn": bool(workspace.on_next_day),
            "suggestions": list(workspace.suggestions.items()),
            "hints": list(workspace.hints),
            "people": [_person(workspace, each) for each in state.people],
            "channels": [_channel(workspace, each, user) for each in state.channels.values() if _sees(each, user)],
            "home": _view(workspace, home, user) if home else None,
            "modal": _view(workspace, stack[-1], user) | {"depth": len(stack)} if stack else None,
        }


def _sees(channel: Channel, user: str) -> bool:
    return channel.with_user in (None, user)


def _person(workspace: "Workspace", user: str) -> Json:
    person = workspace.state.people[user]
    shown = {"id": user, "name": person.name, "real_name": person.real_name, "title": person.title, "tz": person.tz}
    unread = sum(_unread(workspace, each, user) for each in workspace.state.channels.values() if each.with_user == user)
    return shown | {"is_bot": person.is_bot, "deleted": person.deleted, "unread": unread}


def _visible(channel: Channel, user: str) -> list[Message]:
    return [each for each in channel.messages if each.visible_to in (None, user)]


def _unread(workspace: "Workspace", channel: Channel, user: str) -> int:
    read = float(workspace.state.reads.get((user, channel.id), "0"))
    return sum(float(each.ts) > read and each.user != user for each in _visible(channel, user))


def _channel(workspace: "Workspace", channel: Channel, user: str) -> Json:
    messages = [_message(workspace, each, user) for each in _visible(channel, user)[-MESSAGES_SHOWN:]]
    count = 2 if channel.with_user else len(members_of(workspace.state, channel))
    shown = {"id": channel.id, "name": channel.name, "is_im": bool(channel.with_user), "members": count}
    return shown | {"unread": _unread(workspace, channel, user), "messages": messages}


def _message(workspace: "Workspace", message: Message, user: str) -> Json:
    shown = message.as_json(with_metadata=False) | {"ephemeral": bool(message.visible_to), "failed": message.failed}
    kept = workspace.state.chosen.get((user, message.ts), {})
    return shown | {"channel": message.channel, "values": state_values(message.blocks, kept)}


def _view(workspace: "Workspace", view: View, user: str) -> Json:
    kept = workspace.state.chosen.get((user, view.id), {})
    shown = view.as_json(state_values(view.body["blocks"], kept))
    return shown | {"errors": view.errors, "failed": view.failed}


def _said(outcome: Outcome) -> Json:
    return {"error": outcome.error, "errors": dict(outcome.errors)}


def _place(workspace: "Workspace", body: Json) -> tuple[str, Message | View]:
    user = workspace.state.person(str(body["as"])).user_id
    place: Message | View | None
    if "view" in body:
        place = workspace.state.view(str(body["view"]))
        if place is not None and place.user != user:
            place = None
    else:
        place = workspace.state.message(str(body["channel"]), str(body["ts"]))
        if place is not None and place.visible_to not in (None, user):
            place = None
    if place is None:
        raise LookupError("it is no longer there")
    return user, place


def _press(workspace: "Workspace", body: Json) -> Json:
    user, place = _place(workspace, body)
    if isinstance(body.get("values"), dict):
        with workspace.state.lock:
            workspace.hands.remember(user, place, body["values"])
    return _said(workspace.hands.press(user, place, body["block_id"], body["action_id"], body.get("value")))


def _submit(workspace: "Workspace", body: Json) -> Json:
    user, place = _place(workspace, body)
    if not isinstance(place, View):
        raise TypeError("only a modal can be submitted")
    return _said(workspace.hands.submit(user, place, body.get("values") or {}))


def _close(workspace: "Workspace", body: Json) -> Json:
    user, place = _place(workspace, body)
    if not isinstance(place, View):
        raise TypeError("only a modal can be closed")
    return _said(workspace.hands.close(user, place))


def _type(workspace: "Workspace", body: Json) -> Json:
    user = workspace.state.person(str(body["as"])).user_id
    channel = workspace.state.channels[str(body["channel"])]
    text = str(body["text"])[:4000]
    if not text.strip() or not _sees(channel, user):
        raise ValueError("there is nothing to send, or nowhere to send it to")
    return _said(workspace.hands.type(user, channel, text))


def _home(workspace: "Workspace", body: Json) -> Json:
    return _said(workspace.hands.open_home(workspace.state.person(str(body["as"])).user_id))


def _read(workspace: "Workspace", body: Json) -> Json:
    user = workspace.state.person(str(body["as"])).user_id
    with workspace.state.changing():
        workspace.state.reads[(user, str(body["channel"]))] = str(float(body["ts"]))
    return {}


def _next_day(workspace: "Workspace", body: Json) -> Json:
    workspace.next_day()
    return {}


VERBS: dict[str, Callable[["Workspace", Json], Any]] = {
    "close": _close,
    "home": _home,
    "next-day": _next_day,
    "press": _press,
    "read": _read,
    "submit": _submit,
    "type": _type,
}
