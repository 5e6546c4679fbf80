"""A job of many short steps, each of which leaves a mark: for a worker whose database goes away meanwhile."""

from __future__ import annotations

import time

from app.access.models import InstallationSetting
from app.core.i18n import _m
from app.jobs.queue import Task, handler

KIND = "test.marks"


@handler(KIND, title=_m("Job"))
def _marks(task: Task) -> None:
    for number in range(task.done, int(task.payload["steps"])):
        with task.step() as step:
            # The name is unique: a step that was done twice would be refused.
            step.db.add(InstallationSetting(name=f"mark.{task.public_id}.{number}", value="x"))
            step.progress(done=number + 1)
        time.sleep(0.02)
