"""`/docs`: this API to read and to try, without the internet; and the OpenAPI document as a file.

    python -m api.documents        writes docs/openapi.json, which a test compares with the code

Swagger UI comes with the package fastapi-offline; nothing of its own code is used. Like everything else that is not
public, the page needs a login, or the token header.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, HTMLResponse, Response

from api.problems import Problem, documented
from config import BASE_DIR, Settings

COMMITTED: Final = BASE_DIR / "docs" / "openapi.json"
ASSETS: Final = Path(str(files("fastapi_offline"))) / "static"
POLICY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
KEPT: Final = {"Cache-Control": "private, max-age=86400"}
PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Agent scheduler: API</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
START: Final = """SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#api", deepLinking: true, docExpansion: "none", filter: true,
  validatorUrl: null, tryItOutEnabled: false,
});
"""

router = APIRouter(prefix="/docs", include_in_schema=False)


@router.get("", response_class=HTMLResponse)
def page() -> HTMLResponse:
    """Show the page; it loads nothing from elsewhere."""
    return HTMLResponse(PAGE, headers=POLICY)


@router.get("/start.js")
def start() -> Response:
    """Tell Swagger UI what to show; a file of its own, so that the page needs no inline script."""
    return Response(START, media_type="text/javascript", headers=KEPT)


@router.get("/{name}")
def asset(name: Literal["swagger-ui.css", "swagger-ui-bundle.js"]) -> FileResponse:
    """Give the page one of its two files."""
    return FileResponse(ASSETS / name, headers=KEPT)


class DescribedApi(FastAPI):
    """An application whose OpenAPI document says once what holds for every route.

    What a problem is, and that a body which is no text at all is answered with 400.
    """

    def openapi(self) -> dict[str, Any]:
        """Describe the API."""
        described = super().openapi()
        described["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        for operations in described["paths"].values():
            for operation in operations.values():
                if "requestBody" in operation:
                    operation["responses"] |= {str(status): told for status, told in documented(400).items()}
        return described


def document(settings: Settings) -> dict[str, Any]:
    """Describe the API; the same whatever the settings are."""
    from api.app import create_app

    app = create_app(settings)
    try:
        return app.openapi()
    finally:
        app.state.services.close()


def as_text(described: dict[str, Any]) -> str:
    """Write the document so that a change is a small difference."""
    return json.dumps(described, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> int:
    """Write the document to where it is kept in the repository."""
    COMMITTED.write_text(as_text(document(Settings(_env_file=None))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
