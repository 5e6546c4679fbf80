"""What several decisions at once came to, in words: who was left out, and why."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from app.core.actor import Actor
from app.core.i18n import _m
from app.sponsorship import listing
from app.sponsorship.claims import Decision


def left_out(db: Session, actor: Actor, decisions: Iterable[Decision]) -> str:
    """The aliases that were left out, those with the same reason together."""
    refused = [(decision.claim, str(decision.refusal)) for decision in decisions if decision.refusal]
    aliases = listing.claim_aliases(db, actor, [claim for claim, _ in refused])
    by_reason: dict[str, list[str]] = {}
    for claim, reason in refused:
        by_reason.setdefault(reason, []).append(aliases.get(claim, "–"))
    between = str(_m(", "))
    return " ".join(
        str(_m("%(who)s: %(why)s", who=between.join(who), why=reason)) for reason, who in by_reason.items()
    )
