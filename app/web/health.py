"""Is the process there, and is its database the one that it was written for?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import SQLAlchemyError

from app.core.actor import Actor
from app.db import at_head
from app.door.access import public

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
def healthz(_visitor: Annotated[Actor, public()]) -> PlainTextResponse:
    return PlainTextResponse("ok")


@router.get("/readyz")
def readyz(request: Request, _visitor: Annotated[Actor, public()]) -> PlainTextResponse:
    try:
        ready = at_head(request.app.state.database.read_engine)
    except SQLAlchemyError:
        return PlainTextResponse("database not reachable", status_code=503)
    return PlainTextResponse("ready") if ready else PlainTextResponse("run zhuxue migrate", status_code=503)
