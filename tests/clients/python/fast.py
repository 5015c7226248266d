"""FastMCP's client. Arguments: the URL of an MCP endpoint, and any of the URL of its metadata document and `step-up` (calls the
second tool)."""

import asyncio
import json
import sys
import threading
import time
import urllib.parse
import urllib.request
import webbrowser

from fastmcp import Client
from fastmcp.client.auth import OAuth

from browser import consent
from step_up import step_up


def browse(url):
    # A browser takes longer to come back than the client takes to listen.
    callback = consent(url)
    target = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["redirect_uri"][0]
    for _ in range(100):
        try:
            return urllib.request.urlopen(f"{target}?{urllib.parse.urlencode(callback)}")
        except OSError:
            time.sleep(0.05)


def open_browser(url, *_):
    threading.Thread(target=browse, args=[url], daemon=True).start()
    return True


webbrowser.open = open_browser


async def main():
    url, *flags = sys.argv[1:]
    document = next((flag for flag in flags if flag.startswith("https://")), None)
    auth = OAuth(callback_host="127.0.0.1", callback_timeout=10, client_metadata_url=document)
    async with Client(url, auth=auth) as client:
        answer = await client.call_tool("echo", {"text": "hello"})

        async def call(name, text):
            return (await client.call_tool(name, {"text": text})).content[0].text

        stepped = await step_up(call) if "step-up" in flags else {}
        before, refreshed = auth.context.current_tokens, False
        if before.refresh_token:
            # As if its time had come.
            auth.context.token_expiry_time = 1
            again = await client.call_tool("echo", {"text": "again"})
            now = auth.context.current_tokens
            refreshed = now.access_token != before.access_token and again.content[0].text == "again"
    print(json.dumps({"said": answer.content[0].text, "refreshed": refreshed, **stepped}))


asyncio.run(main())
