"""Style sheets, scripts and fonts: the same for everybody, so they need no login and are kept by browsers."""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from markupsafe import Markup
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER: Final = Path(__file__).with_name("static")
PATH: Final = "/static"
KEPT: Final = "public, max-age=31536000, immutable"  # an address has the file's digest: a new file is a new address


class Assets(StaticFiles):
    """The files of FOLDER."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a file, to be kept where its address says which one it is. Raises HTTPException 404, 405."""
        response = await super().get_response(path, scope)
        # Only under our own digest: while versions change, a page of one may ask a process of the other.
        is_named = f"{PATH}/{path}?{scope['query_string'].decode('latin-1')}" == address(path)
        if is_named or path.endswith(".woff2"):  # a font's name has its version
            response.headers["Cache-Control"] = KEPT
        return response


@cache
def address(name: str) -> str:
    """Name the address of a file, with its digest. Raises FileNotFoundError."""
    return f"{PATH}/{name}?v={sha256((FOLDER / name).read_bytes()).hexdigest()[:12]}"


@cache
def icon(name: str) -> Markup:
    """Draw an icon of 16 pixels in the colour of the text beside it. Raises FileNotFoundError."""
    svg = (FOLDER / "vendor" / "icons" / f"{name}.svg").read_text(encoding="utf-8")
    inner = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    shapes = "".join(line.strip() for line in inner.splitlines())
    drawing = f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{shapes}</svg>'
    return Markup(drawing)  # noqa: S704 - our own file
