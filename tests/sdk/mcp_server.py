"""An MCP server written with the Python SDK.

Over standard input and output, or with the argument `http` over streamable HTTP on a free port of this
machine, whose URL is then printed.
"""

import os
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("tests", version="1")


@server.tool()
def multiply(a: int, b: int) -> int:
    """Multiplies two integers."""
    return a * b


@server.tool()
def refuse(why: str) -> str:
    """Fails."""
    raise ToolError(why)


@server.tool()
async def steps(n: int, context: Context) -> str:
    """Reports so many steps."""
    for step in range(1, n + 1):
        await context.report_progress(step, n, f"step {step}")
    return f"{n} steps"


@server.tool()
def environment() -> list[str]:
    """The names of the environment's variables."""
    return sorted(os.environ)


@server.tool()
def authorization(context: Context) -> str:
    """The credential that the call came with."""
    return (context.headers or {}).get("authorization", "")


def serve_http() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    app = server.streamable_http_app(host="127.0.0.1")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    serve_http() if sys.argv[1:] == ["http"] else server.run("stdio")
