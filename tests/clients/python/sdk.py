"""The MCP Python SDK, 1.x or 2.x as it is installed. Argument: the URL of an MCP endpoint."""

import asyncio
import importlib.metadata
import json
import sys

from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

from browser import consent

url = sys.argv[1]
version = importlib.metadata.version("mcp")
is_first = version.startswith("1.")
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
    auth = OAuthClientProvider(url, metadata, storage, redirect, callback)
    if is_first:
        import httpx as http
    else:
        import httpx2 as http
    async with http.AsyncClient(auth=auth) as client, streamable_http_client(url, http_client=client) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            await session.initialize()
            answer = await session.call_tool("echo", {"text": "hello"})
            before, refreshed = storage.tokens, False
            if before.refresh_token:
                # As if its time had come.
                auth.context.token_expiry_time = 1
                again = await session.call_tool("echo", {"text": "again"})
                refreshed = storage.tokens.access_token != before.access_token and again.content[0].text == "again"
    client = storage.client.model_dump(mode="json", exclude_none=True)
    print(json.dumps({"client": client, "said": answer.content[0].text, "refreshed": refreshed}))


asyncio.run(main())
