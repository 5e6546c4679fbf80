"""One's own jobs: how far they are, what came of them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.core import clock
from app.core.actor import Actor
from app.core.i18n import Message, _m
from app.door.access import requires_fresh, signed_in
from app.door.forms import Form, Submitted, done
from app.door.sessions import Db, ReadDb
from app.door.side import note_read
from app.files.models import StoredFile
from app.files.store import open_stored
from app.jobs import queue
from app.jobs.models import JobState
from app.web.render import flash, page

router = APIRouter(include_in_schema=False)
Anybody = Annotated[Actor, signed_in()]
Taker = Annotated[Actor, requires_fresh(to=_m("take the file of this job"))]

STATES: dict[str, tuple[Message, str]] = {
    JobState.WAITING: (_m("Waiting"), "neutral"),
    JobState.RUNNING: (_m("Running"), "notice"),
    JobState.DONE: (_m("Done"), "success"),
    JobState.FAILED: (_m("Failed"), "error"),
    JobState.CANCELLED: (_m("Cancelled"), "warning"),
}


def attachment(file: StoredFile) -> Response:
    """A stored file on its way to the reader: to be kept, never shown by the browser as a page of ours.

    `nosniff` and `no-store` stand on every reply; the caller has checked who may have it, and noted the read.
    """
    name = quote(file.name, safe="")
    return StreamingResponse(
        open_stored(file),
        media_type=file.media_type,
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
            "Content-Length": str(file.size),
            "Cache-Control": "no-store",
        },
    )


@router.get("/jobs", name="jobs.list")
def jobs(request: Request, actor: Anybody, db: ReadDb) -> Response:
    rows = queue.list_own(db, actor)
    titles = {row.kind: queue.title_of(row.kind) for row in rows}
    return page(
        request, "jobs/list.html", actor=actor, title=_m("My jobs"), rows=rows, titles=titles, states=STATES
    )


def _job_page(
    request: Request, actor: Actor, public_id: str, db: Session, form: Submitted | None
) -> Response:
    job = queue.get_own(db, actor, public_id)
    file = db.get(StoredFile, job.file_id) if job.file_id is not None else None
    return page(
        request, "jobs/job.html", actor=actor, title=queue.title_of(job.kind), job=job, file=file, states=STATES,
        running=job.state in (JobState.WAITING, JobState.RUNNING), speed=_speed(job),
        result=queue.unpack(job.result), failure=queue.unpack(job.failure), refusal=form.message if form else None,
    )  # fmt: skip


def _speed(job: Any) -> tuple[float, float] | None:
    """Items per second, and seconds left."""
    if job.state != JobState.RUNNING or not job.started_at or not job.done:
        return None
    seconds = max((clock.now() - job.started_at).total_seconds(), 0.1)
    rate = job.done / seconds
    return rate, max((job.total or job.done) - job.done, 0) / rate


@router.get("/jobs/{job_id}", name="jobs.job")
def job(request: Request, job_id: str, actor: Anybody, db: ReadDb) -> Response:
    return _job_page(request, actor, job_id, db, None)


@router.post("/jobs/{job_id}/cancel", name="jobs.cancel")
def cancel(request: Request, job_id: str, actor: Anybody, form: Form, db: Db) -> Response:
    form.redraw = partial(_job_page, request, actor, job_id)
    queue.cancel(db, actor, job_id)
    response = done(request, f"/jobs/{job_id}")
    flash(request, response, _m("The job will stop."), kind="notice")
    return response


@router.get("/jobs/{job_id}/file", name="jobs.file")
def file(request: Request, job_id: str, actor: Taker, db: ReadDb) -> Response:
    stored = queue.get_own_file(db, actor, job_id)
    note_read(request, actor, [stored.public_id], kind="file", what="export downloaded")
    return attachment(stored)
