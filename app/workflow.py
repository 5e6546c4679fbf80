"""The one state machine: a workflow is a tuple of transitions, and `advance` is the only way along it.

The same tuple draws the buttons, the legend and the tests "every action in every state". What an action does besides
(post to the ledger, free a place) is ordinary code in the verb that calls `advance`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlalchemy import update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.access.permissions import Permission
from app.audit import Tag, record
from app.core.actor import SYSTEM, Actor
from app.core.errors import Conflict, Invalid
from app.core.i18n import Message, _m

Guard = Callable[[Session, Actor, Any], Message | None]


@dataclass(frozen=True)
class Transition:
    """From any of `sources` to `target`, for those who hold `permission`; None means the system alone.

    `guard` answers with a sentence when the step is not possible yet.
    """

    action: str
    sources: frozenset[str]
    target: str
    permission: Permission | None
    label: Message
    tag: Tag
    guard: Guard | None = None
    needs_reason: bool = False
    danger: bool = False


class ReasonForm(BaseModel):
    """What is typed for a step that needs a reason; the step itself asks for one where it is empty."""

    reason: Annotated[str, Field(max_length=400)] = ""


@dataclass(frozen=True)
class Workflow:
    """The life of one kind of record; `states` says how each state is called and shown (kind of badge)."""

    kind: str
    model: Any
    states: dict[str, tuple[Message, str]]
    transitions: tuple[Transition, ...]
    column: str = "state"

    def transition(self, action: str) -> Transition:
        return next(step for step in self.transitions if step.action == action)

    def label(self, state: str) -> Message:
        return self.states[state][0]

    def open_to(self, actor: Actor, state: str) -> tuple[Transition, ...]:
        """The steps that this actor could take from this state: its buttons."""
        return tuple(
            step
            for step in self.transitions
            if state in step.sources and step.permission is not None and actor.may(step.permission)
        )


def advance(
    db: Session,
    actor: Actor,
    workflow: Workflow,
    entity: Any,
    action: str,
    *,
    reason: str | None = None,
    values: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
) -> None:
    """Take one step, once: compare-and-set on the state, stamp `values`, write the audit event.

    Raises NotPermitted, Invalid (a reason is missing), or Conflict (another state, a guard, a quicker colleague).
    """
    step = workflow.transition(action)
    if step.permission is None:
        if actor is not SYSTEM and actor.role != "system":
            actor.require("system")
    else:
        actor.require(step.permission)
    reason = (reason or "").strip()
    if step.needs_reason and not reason:
        raise Invalid(
            _m("A reason is needed. Write it so that the others can understand the decision."),
            fields={"reason": _m("Write a reason.")},
            code="workflow.reason",
        )
    seen = getattr(entity, workflow.column)
    if seen not in step.sources:
        raise Conflict(
            _m(
                "This step is not possible now: the state is “%(state)s”. Load the page again to see what can be done.",
                state=workflow.label(seen),
            ),
            code="workflow.state",
        )
    refusal = step.guard(db, actor, entity) if step.guard else None
    if refusal is not None:
        raise Conflict(refusal, code="workflow.guard")
    db.flush()  # pending changes of the entity go first, so that the comparison below is the last word
    model = workflow.model
    changes = {workflow.column: str(step.target), **(values or {})}
    won = db.execute(
        update(model)
        .where(model.id == entity.id, getattr(model, workflow.column) == seen)
        .values(changes)
        .execution_options(synchronize_session=False)
    ).rowcount  # type: ignore[attr-defined] # an UPDATE's result has it
    if won != 1:
        quicker = _m("Somebody else was quicker: the state has just changed. Load the page again.")
        raise Conflict(quicker, code="workflow.overtaken")
    for name, value in changes.items():
        set_committed_value(entity, name, value)
    record(
        db,
        actor,
        step.tag,
        subject=(workflow.kind, entity.public_id),
        old={workflow.column: str(seen)},
        new={workflow.column: str(step.target), **(new or {})},
        reason=reason or None,
    )
