"""The Slack app's manifest: what the bot may do in a workspace, and nothing more."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

# Each scope with the method that needs it.
SCOPES = {
    "chat:write": "chat.postMessage, chat.update: cards",
    "commands": "/nhi",
    "im:write": "conversations.open: a DM with the person asked",
    "im:history": "conversations.history: finding a message whose posting was cut short, before trying again",
    "channels:history": "the same, for escalations to a public channel",
    "channels:read": "conversations.list: finding the channel that policy names",
    "files:write": "files.getUploadURLExternal, files.completeUploadExternal: the review's burn-down picture",
    "users:read": "users.list, users.info: who is here, whether somebody is active, a guest, a bot; their time zone",
    "users:read.email": "users.lookupByEmail: an owner's tag to a person",
}


def manifest(mode: str, url: str) -> dict[str, Any]:
    """Return the manifest as Slack reads it. `mode` is socket or http; `url` is the bot's address in http mode."""
    request = {} if mode == "socket" else {"request_url": f"{url.rstrip('/')}/slack/events"}
    command: dict[str, Any] = {
        "command": "/nhi",
        "description": "Who owns this key, and what is asked of me?",
        "usage_hint": "whois <anything> | mine | help",
        "should_escape": True,
    }
    if mode == "http":
        command["url"] = request["request_url"]
    return {
        "display_information": {
            "name": "NHI",
            "description": "Finds keys and service accounts that nobody looks after, and asks kindly",
            "background_color": "#1f3a5f",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": "nhi", "always_online": True},
            "slash_commands": [command],
            "shortcuts": [
                {
                    "name": "Whose is this?",
                    "type": "message",
                    "callback_id": "nhi:whose",
                    "description": "Finds the non-human identities that a message names, and their owners",
                }
            ],
        },
        "oauth_config": {"scopes": {"bot": sorted(SCOPES)}},
        "settings": {
            "event_subscriptions": {**request, "bot_events": ["app_home_opened", "message.im"]},
            "interactivity": {"is_enabled": True, **request},
            "org_deploy_enabled": False,
            "socket_mode_enabled": mode == "socket",
            "token_rotation_enabled": False,
        },
    }


def link(document: dict[str, Any]) -> str:
    """Return the address that creates the app from this manifest."""
    return f"https://api.slack.com/apps?new_app=1&manifest_json={quote(json.dumps(document, separators=(',', ':')))}"
