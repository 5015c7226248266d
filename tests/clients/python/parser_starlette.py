"""What Starlette reads of a request, under uvicorn."""

import base64
import socket

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def pairs(multi):
    """Every value of every name: a handler takes the first or the last."""
    return {name: [value if isinstance(value, str) else "a file" for value in multi.getlist(name)] for name in multi}


async def read(reading):
    try:
        return await reading
    except Exception:  # It would be a 400 or a 500.
        return None


def basic(request):
    """As Starlette's documentation of authentication backends has it."""
    try:
        scheme, credentials = request.headers["authorization"].split()
        if scheme.lower() == "basic":
            return base64.b64decode(credentials).decode("utf-8").partition(":")[0]
    except (KeyError, ValueError):
        pass
    return None


async def answer(request):
    if request.url.path.startswith("/.well-known/"):
        return Response(status_code=404)
    body = await request.body()
    form = await read(request.form())
    media_type = request.headers.get("content-type")
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "type": media_type,
            "length": len(body),
            "query": pairs(request.query_params),
            "form": None if form is None else pairs(form),
            "json": await read(request.json()) if "json" in (media_type or "").lower() else None,
            "basic": basic(request),
            "headers": dict(request.headers),
        }
    )


# A method of one's own choice is as good as any.
class Every(Route):
    def __init__(self):
        super().__init__("/{path:path}", answer)
        self.methods = None


listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listener.bind(("127.0.0.1", 0))
listener.listen()
print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(Starlette(routes=[Every()]), log_level="critical")).run(sockets=[listener])
