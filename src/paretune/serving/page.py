"""The page at ``/``: a fixed table of files, under a policy that allows nothing else."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import Response

from paretune.web.assets import Asset, page, page_assets

POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
        "img-src 'self' data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
        # Text that becomes markup by mistake is an error of the script, never an element.
        "require-trusted-types-for 'script'", "trusted-types 'none'",
    )
)  # fmt: skip

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Kept, and asked after with the tag: a new version of the package is seen at once.
    "Cache-Control": "no-cache",
}


def add_page(app: FastAPI) -> tuple[str, ...]:
    """Serve the page.

    Args:
        app: gets the routes.

    Returns:
        Their paths, which need no key: the files are the same for everybody and say nothing of
        the run.
    """
    files = {"/": page(), **{f"/page/{name}": one for name, one in page_assets().items()}}
    for path, asset in files.items():
        _add(app, path, asset)
    return tuple(files)


def _add(app: FastAPI, path: str, asset: Asset) -> None:
    headers = {**_HEADERS, "ETag": asset.tag}

    @app.get(path)
    async def file(http: Request) -> Response:
        if http.headers.get("if-none-match") == asset.tag:
            return Response(status_code=304, headers=headers)
        return Response(asset.content, headers=headers, media_type=asset.media_type)
