"""The page: HTML, CSS and scripts as they are in this folder, and the script of TradingView's Lightweight Charts.

Nothing comes from elsewhere, and nothing is built: what is written here is what the browser reads.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fastapi import Request, Response

from titan.gateway.problems import ProblemError

_KINDS = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}  # fmt: skip
_ELSEWHERE = {"lightweight-charts.js": ("litecharts", "js/lightweight-charts.js")}
# The charts' script styles its own elements; nothing else of what a page may do is needed.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Asset:
    """A file of the page, as it is and compressed."""

    body: bytes
    compressed: bytes
    media_type: str
    tag: str


def _names() -> set[str]:
    own = {one.name for one in resources.files(__name__).iterdir() if f".{one.name.rpartition('.')[2]}" in _KINDS}
    return own | set(_ELSEWHERE)


@cache
def assets() -> dict[str, Asset]:
    """Every file of the page by its name."""
    found = {}
    for name in sorted(_names()):
        package, path = _ELSEWHERE.get(name, (__name__, name))
        body = resources.files(package).joinpath(path).read_bytes()
        kind = _KINDS[f".{name.rpartition('.')[2]}"]
        found[name] = Asset(body, gzip.compress(body, 9, mtime=0), kind, f'"{hashlib.sha256(body).hexdigest()[:16]}"')
    return found


def send(request: Request, name: str) -> Response:
    """A file of the page, or that it is the one that the browser has. Raises ProblemError for one that there is not."""
    asset = assets().get(name)
    if asset is None:
        raise ProblemError(404, "No such page", f"{name[:100]!r} is none", hint="/ is the page, /docs the reference")
    headers = {
        "ETag": asset.tag,
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if request.headers.get("if-none-match", "").removeprefix("W/") == asset.tag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.compressed, 200, headers | {"Content-Encoding": "gzip"}, asset.media_type)
    return Response(asset.body, 200, headers, asset.media_type)
