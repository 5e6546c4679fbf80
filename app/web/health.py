"""Is the process there, and is its database the one that it was written for?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import SQLAlchemyError

from app.core.actor import Actor
from app.db import at_head
from app.demo.installation import misplaced
from app.door.access import public, unasked

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz(_visitor: Annotated[Actor, unasked()]) -> PlainTextResponse:
    """Needs no thread and no database: it answers when all of them wait for a lock."""
    return PlainTextResponse("ok")


@router.get("/readyz")
def readyz(request: Request, _visitor: Annotated[Actor, public()]) -> PlainTextResponse:
    database, settings = request.app.state.database, request.app.state.settings
    try:
        if not at_head(database.read_engine):
            return PlainTextResponse("run zhuxue migrate", status_code=503)
        with database.read() as db:
            wrong = misplaced(db, settings)
    except SQLAlchemyError:
        return PlainTextResponse("database not reachable", status_code=503)
    # Anybody may ask: what is wrong stands in the sentence of `zhuxue config check`.
    return (
        PlainTextResponse("run zhuxue config check", status_code=503) if wrong else PlainTextResponse("ready")
    )
