"""What one run of the acts did, refused and left, item by item."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    """What one run did, refused and left. In a dry run `would` says what it would have done, and nothing is done."""

    done: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    testing: list[str] = field(default_factory=list)  # turned off for a step of a scream test
    back: list[str] = field(default_factory=list)  # turned on again at a step's end
    rotated: list[str] = field(default_factory=list)  # a new key was made and stored
    ready: list[str] = field(default_factory=list)  # rotations whose old key can go by now
    proposed: list[str] = field(default_factory=list)
    awaiting: list[str] = field(default_factory=list)  # a second person
    closed: list[str] = field(default_factory=list)  # their undo ran out
    refused: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "done": self.done,
            "undone": self.undone,
            "testing": self.testing,
            "back": self.back,
            "rotated": self.rotated,
            "ready": self.ready,
            "proposed": self.proposed,
            "awaiting": self.awaiting,
            "closed": self.closed,
            "refused": [{"remediation": id_, "reason": why} for id_, why in self.refused],
            "waiting": [{"remediation": id_, "reason": why} for id_, why in self.waiting],
        }

    def sentence(self) -> str:
        """Return the run's account: `Disabled 1, turned 0 back on. Refused 1: It was used on …`."""
        text = f"Disabled {len(self.done)}, turned {len(self.undone)} back on."
        if self.dry_run:
            text = "A dry run: nothing was changed."
        if self.testing:
            text += f" {len(self.testing)} off for a scream test."
        if self.back:
            text += f" {len(self.back)} on again after a step of one."
        if self.rotated:
            text += f" Made and stored {len(self.rotated)} new keys."
        if self.ready:
            text += f" Asked about {len(self.ready)} old keys that can go."
        if self.proposed:
            text += f" {len(self.proposed)} are proposed only, as policy says."
        if self.awaiting:
            text += f" {len(self.awaiting)} await a second person."
        for what, items in (("Refused", self.refused), ("Waiting", self.waiting)):
            if items:
                text += f" {what} {len(items)}: " + " ".join(sorted({why for _, why in items}))
        return text
