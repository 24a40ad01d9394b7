"""The views.* methods: modals, which need a trigger and stack three deep, and home tabs."""

import json
import secrets
from typing import Any, Literal

from demo.slack_api import METHODS, required
from demo.slack_rules import VIEW_BYTES_AT_MOST, check_view
from demo.slack_state import MODALS_AT_MOST, Json, RefusalError, State, View


def checked(view: Any, surface: Literal["modal", "home"]) -> Json:
    """Return a view that Slack takes; raises RefusalError with what it finds wrong."""
    if not view:
        raise RefusalError("invalid_arguments", "[ERROR] missing required field: view")
    if problems := check_view(view, surface):
        raise RefusalError("invalid_arguments", *(f"[ERROR] {each}" for each in problems))
    if len(json.dumps(view).encode()) > VIEW_BYTES_AT_MOST:
        raise RefusalError("view_too_large")
    body: Json = view
    return body


def new_hash(state: State) -> str:
    """Return a hash that tells one version of a view from the next."""
    return f"{int(state.now().timestamp())}.{secrets.token_hex(4)}"


def _refuse_taken_external_id(state: State, body: Json, but: str = "") -> None:
    name = body.get("external_id")
    views = [view for stack in state.modals.values() for view in stack if view.id != but]
    if name and any(view.body.get("external_id") == name for view in views):
        raise RefusalError("duplicate_external_id")


def stack_modal(state: State, user_id: str, body: Json, below: list[View]) -> View:
    """Put a modal on top of those `below`, or alone where there are none."""
    _refuse_taken_external_id(state, body)
    if len(below) >= MODALS_AT_MOST:
        raise RefusalError("push_limit_reached")
    view_id = state.next_id("V")
    view = View(
        id=view_id,
        user=user_id,
        body=body | {"blocks": state.with_ids(body["blocks"])},
        hash=new_hash(state),
        root_id=below[0].id if below else view_id,
        previous_id=below[-1].id if below else None,
    )
    state.modals[user_id] = [*below, view]
    return view


def replace_view(state: State, view: View, body: Json) -> None:
    """Show another body in a view that is open; what the person typed into unchanged inputs stays with the page."""
    _refuse_taken_external_id(state, body, but=view.id)
    view.body = body | {"blocks": state.with_ids(body["blocks"])}
    view.hash, view.errors, view.failed = new_hash(state), {}, ""


def open_view(state: State, args: Json) -> Json:
    """views.open."""
    required(args, "trigger_id")
    body = checked(args.get("view"), "modal")
    trigger = state.use_trigger(args["trigger_id"])
    return {"view": stack_modal(state, trigger.user, body, []).as_json()}


def push_view(state: State, args: Json) -> Json:
    """views.push: only from a click or submission inside a modal that is still open."""
    required(args, "trigger_id")
    body = checked(args.get("view"), "modal")
    trigger = state.use_trigger(args["trigger_id"])
    below = state.modals.get(trigger.user, [])
    if not trigger.from_modal or not below:
        raise RefusalError("invalid_trigger_id", "[ERROR] views.push needs a trigger from an open modal")
    return {"view": stack_modal(state, trigger.user, body, below).as_json()}


def update_view(state: State, args: Json) -> Json:
    """views.update, by view id or external id, refused where `hash` is of an older version."""
    body = checked(args.get("view"), "modal")
    open_views = [view for stack in state.modals.values() for view in stack]
    wanted = args.get("view_id"), args.get("external_id")
    if not any(wanted):
        raise RefusalError("invalid_arguments", "[ERROR] missing required field: view_id")
    view = next(
        (
            each
            for each in open_views
            if each.id == wanted[0] or (wanted[1] and each.body.get("external_id") == wanted[1])
        ),
        None,
    )
    if view is None:
        raise RefusalError("not_found")
    if args.get("hash") and args["hash"] != view.hash:
        raise RefusalError("hash_conflict")
    replace_view(state, view, body)
    return {"view": view.as_json()}


def publish_view(state: State, args: Json) -> Json:
    """views.publish: the home tab of one person."""
    (user_id,) = required(args, "user_id")
    if user_id not in state.people:
        raise RefusalError("user_not_found")
    body = checked(args.get("view"), "home")
    old = state.homes.get(user_id)
    if old and args.get("hash") and args["hash"] != old.hash:
        raise RefusalError("hash_conflict")
    view_id = old.id if old else state.next_id("V")
    body = body | {"blocks": state.with_ids(body["blocks"])}
    state.homes[user_id] = View(id=view_id, user=user_id, body=body, hash=new_hash(state), root_id=view_id)
    return {"view": state.homes[user_id].as_json()}


ALL_METHODS = METHODS | {
    "views.open": open_view,
    "views.publish": publish_view,
    "views.push": push_view,
    "views.update": update_view,
}
