"""The MCP Python SDK, 1.x or 2.x as it is installed. Arguments: the URL of an MCP endpoint, and any of the URL of its
metadata document, `step-up` (calls the second tool) and `unscoped` (registered before, without a scope)."""

import asyncio
import contextlib
import importlib.metadata
import json
import sys
import urllib.parse
import urllib.request

from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

from browser import consent
from step_up import step_up

url, *flags = sys.argv[1:]
version = importlib.metadata.version("mcp")
is_first = version.startswith("1.")
document = next((flag for flag in flags if flag.startswith("https://")), None)
REDIRECT_URI = "http://127.0.0.1:33421/callback"


class Storage:
    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def main():
    seen = {}

    async def redirect(to):
        seen.update(await asyncio.to_thread(consent, to))

    async def callback():
        if is_first:
            return seen["code"], seen.get("state")
        from mcp.client.auth import AuthorizationCodeResult

        return AuthorizationCodeResult(code=seen["code"], state=seen.get("state"), iss=seen.get("iss"))

    storage = Storage()
    metadata = OAuthClientMetadata(client_name=f"Python SDK {version[0]}", redirect_uris=[REDIRECT_URI])
    if "unscoped" in flags:
        body = metadata.model_dump_json(exclude_none=True).encode()
        register = urllib.request.Request(urllib.parse.urljoin(url, "/register"), body, {"content-type": "application/json"})
        storage.client = OAuthClientInformationFull.model_validate_json(urllib.request.urlopen(register).read())
    auth = OAuthClientProvider(url, metadata, storage, redirect, callback, client_metadata_url=document)
    if is_first:
        import httpx as http
    else:
        import httpx2 as http

    @contextlib.asynccontextmanager
    async def connected():
        async with http.AsyncClient(auth=auth) as client, streamable_http_client(url, http_client=client) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                yield session

    async with connected() as session:
        answer = await session.call_tool("echo", {"text": "hello"})
        before, refreshed = storage.tokens, False
        if before.refresh_token:
            # As if its time had come.
            auth.context.token_expiry_time = 1
            again = await session.call_tool("echo", {"text": "again"})
            refreshed = storage.tokens.access_token != before.access_token and again.content[0].text == "again"

    async def call(name, text):
        # In a session of its own: an error of the authorization ends the session, but not the tokens.
        async with connected() as session:
            return (await session.call_tool(name, {"text": text})).content[0].text

    stepped = await step_up(call) if "step-up" in flags else {}
    if stepped.get("wrote"):
        # A refresh keeps the scope.
        auth.context.token_expiry_time = 1
        stepped["wrote"] = await call("write", "hello")
    client = storage.client.model_dump(mode="json", exclude_none=True)
    print(json.dumps({"client": client, "said": answer.content[0].text, "refreshed": refreshed, **stepped}))


asyncio.run(main())
