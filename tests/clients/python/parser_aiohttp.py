"""What aiohttp reads of a request."""

import asyncio
import json
import socket

from aiohttp import BasicAuth, web


def pairs(multi):
    """Every value of every name: a handler takes the first or the last."""
    return {name: [value if isinstance(value, str) else "a file" for value in multi.getall(name)] for name in multi}


async def read(reading):
    try:
        return await reading
    except Exception:  # It would be a 400 or a 500.
        return None


def basic(request):
    try:
        return BasicAuth.decode(request.headers["authorization"], encoding="utf-8").login
    except (KeyError, ValueError):
        return None


async def answer(request):
    if request.path.startswith("/.well-known/"):
        return web.Response(status=404)
    form = await read(request.post())
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "path": request.path,
            "type": request.headers.get("content-type"),
            "length": len(body),
            "query": pairs(request.query),
            "form": None if form is None else pairs(form),
            "json": await read(request.json()) if "json" in request.content_type else None,
            "basic": basic(request),
            "headers": {name.lower(): value for name, value in request.headers.items()},
        }
    )


async def main():
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
