"""Our few static files, served from memory under names that carry their content's hash."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

FOLDER: Final = Path(__file__).resolve().parents[1] / "static"
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


@dataclass(frozen=True)
class StaticFile:
    body: bytes
    packed: bytes
    media_type: str
    etag: str


@cache
def _files() -> tuple[dict[str, str], dict[str, StaticFile]]:
    """Addresses by plain name, and files by the name under which they are served."""
    addresses: dict[str, str] = {}
    served: dict[str, StaticFile] = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix not in _MEDIA_TYPES:
            continue
        body = path.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:12]
        name = f"{path.stem}.{digest}{path.suffix}"
        addresses[path.name] = f"/static/{name}"
        served[name] = StaticFile(
            body, gzip.compress(body, mtime=0), _MEDIA_TYPES[path.suffix], f'"{digest}"'
        )
    return addresses, served


def static_address(name: str) -> str:
    """Where `name` is to be had; a name that does not exist is a mistake in a template."""
    return _files()[0][name]


router = APIRouter(include_in_schema=False)


async def static_file(request: Request) -> Response:
    # In memory, so nothing here can block: `async` keeps it off the worker threads.
    file = _files()[1].get(request.path_params["name"])
    if file is None:
        return Response(status_code=404)
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "ETag": file.etag,
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            file.packed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"}
        )
    return Response(file.body, media_type=file.media_type, headers=headers)


router.add_route("/static/{name}", static_file, methods=["GET"], name="static", include_in_schema=False)
