"""The MCP Python SDK's auth routes under uvicorn, with FastMCP's in-memory provider, and an MCP endpoint behind them.

Argument: how clients call it.
"""

import socket
import sys

import uvicorn
from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider
from mcp.server import MCPServer
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions

# With its protocol named, or asyncio does not turn Nagle's algorithm off.
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listener.bind(("127.0.0.1", 0))
listener.listen()
own = f"http://127.0.0.1:{listener.getsockname()[1]}"
called = sys.argv[1] if len(sys.argv) > 1 else own

settings = AuthSettings(
    issuer_url=called,
    resource_server_url=f"{called}/mcp",
    required_scopes=["mcp"],
    client_registration_options=ClientRegistrationOptions(enabled=True, valid_scopes=["mcp"], default_scopes=["mcp"]),
)
provider = InMemoryOAuthProvider(base_url=called)
server = MCPServer("bench", auth_server_provider=provider, auth=settings)


@server.tool()
def echo(text: str) -> str:
    return text


app = server.streamable_http_app(stateless_http=True, json_response=True)
print(f"listening on {own}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
