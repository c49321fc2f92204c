"""The MCP gateway between the Python SDK's client, of both eras, and servers of several kinds.

`old` and `new` are simulated servers that refuse what is not strictly right, one of each era; `local` and
`web` are one of the SDK's own servers, as a program and behind a URL; `down` is not there.
"""

import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from gateway import Gateway, simulator

pytestmark = pytest.mark.anyio

SERVER = Path(__file__).with_name("mcp_server.py")
MASTER_KEY = "sk-master-9c1d7e0b5a3f8642d0e7b1c5a9f3684e2d7c"
SERVER_KEY = "the-key-of-the-server"
# Never reached where nothing hangs.
SECONDS = 20
MODES = ["legacy", "2026-07-28", "auto"]
# A tool of each server that calculates, and the name of the result in what it says.
CALCULATIONS = [
    ("old", "add", "sum", 5),
    ("new", "add", "sum", 5),
    ("local", "multiply", "result", 6),
    ("web", "multiply", "result", 6),
]
SIMULATED = {
    "add", "big", "count", "echo", "fail", "faulty", "grow", "slow", "stats", "whoami",
}  # fmt: skip
WRITTEN = {"authorization", "environment", "multiply", "refuse", "steps"}
# Of the variables that a program gets from the gateway. The others are the configuration's.
PASSED = {"PATH", "HOME", "LANG", "TMPDIR", "TZ", "USER"}
# What Python's own start may add to them.
OWN = {"LC_CTYPE", "PWD", "SHLVL", "_"}

POLICIES = """
@id("all-may")
permit(principal, action, resource);

@id("no-big-answers")
forbid(principal, action == Action::"call_tool", resource == Tool::"big");

@id("not-by-thousands")
forbid(principal, action == Action::"call_tool", resource == Tool::"multiply")
when { context.arguments.hasTag("a") && context.arguments.getTag("a").contains("1000") };
"""

CONFIG = """
environment: development
listeners:
  proxy: {{ address: "127.0.0.1:0" }}
  admin: {{ address: "127.0.0.1:0" }}
  metrics: {{ address: "127.0.0.1:0" }}
admin: {{ master_key: "env:MASTER_KEY" }}
policies: {{ directory: "{policies}" }}
mcp:
  targets:
    old: {{ url: "{simulated}/mcp-2025", api_key: "env:SIM_MCP_KEY" }}
    new: {{ url: "{simulated}/mcp-2026", api_key: "env:SIM_MCP_KEY" }}
    local: {{ command: ["{python}", "{server}"], environment: {{ TOKEN: "env:SIM_MCP_KEY" }} }}
    web: {{ url: "{web}", api_key: "env:SIM_MCP_KEY" }}
    down: {{ url: "http://127.0.0.1:{nobody}/mcp" }}
"""


@contextmanager
def announced(command: list):
    """A program that prints its URL in its first line."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        line = process.stdout.readline()
        assert "http://" in line, f"{command[0]} does not listen"
        yield line.split()[-1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def simulated():
    with announced([simulator(), "--listen", "127.0.0.1:0", "--mcp-key", SERVER_KEY]) as url:
        yield url


@pytest.fixture(scope="module")
def web():
    with announced([sys.executable, SERVER, "http"]) as url:
        yield url


@pytest.fixture(scope="module")
def mcp_gateway(tmp_path_factory, simulated, web):
    directory = tmp_path_factory.mktemp("mcp")
    directory.chmod(0o700)
    policies = directory / "policies"
    policies.mkdir()
    (policies / "tests.cedar").write_text(POLICIES, encoding="utf-8")
    # Bound and not listening: nobody can take the port meanwhile.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        config = CONFIG.format(
            policies=policies,
            simulated=simulated,
            web=web,
            python=sys.executable,
            server=SERVER,
            nobody=nobody.getsockname()[1],
        )
        environment = {"MASTER_KEY": MASTER_KEY, "SIM_MCP_KEY": SERVER_KEY, "PATH": "/usr/bin:/bin"}
        running = Gateway(directory, config, environment)
        yield running.url
        running.stop()


@asynccontextmanager
async def client(url: str, mode: str, key: str | None = MASTER_KEY):
    """A client that has agreed with its server on a version, and does not wait for ever."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    with anyio.fail_after(SECONDS):
        async with httpx2.AsyncClient(headers=headers, timeout=SECONDS) as http:
            async with Client(streamable_http_client(url, http_client=http), mode=mode) as running:
                yield running


async def names(running: Client) -> set[str]:
    """Of all tools, of all pages; none may come twice."""
    found, cursor = [], None
    while True:
        page = await running.list_tools(cursor=cursor)
        found += [tool.name for tool in page.tools]
        cursor = page.next_cursor
        if cursor is None:
            assert len(found) == len(set(found))
            return set(found)


def innermost(error: BaseException) -> BaseException:
    """The one error within groups of it."""
    while isinstance(error, BaseExceptionGroup):
        assert len(error.exceptions) == 1, error
        error = error.exceptions[0]
    return error


async def refusal(running: Client, tool: str, arguments: dict) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await running.call_tool(tool, arguments)
    return caught.value


# The simulated server takes what the SDK's client sends: so it judges the gateway by the same measure.


@pytest.mark.parametrize(
    "path, modes",
    [("/mcp", MODES), ("/mcp-2025", ["legacy", "auto"]), ("/mcp-2026", ["2026-07-28", "auto"])],
)
async def test_sdk_and_simulated_server_agree(simulated, path, modes):
    for mode in modes:
        async with client(simulated + path, mode, SERVER_KEY) as running:
            assert await names(running) >= SIMULATED
            result = await running.call_tool("add", {"a": 2, "b": 3})
            assert result.structured_content == {"sum": 5}
            assert (await progress(running, "count", 3))[0] == [1, 2, 3]


@pytest.mark.parametrize("era", ["2025", "2026", "both"])
async def test_sdk_and_simulated_program_agree(era):
    program = StdioServerParameters(command=str(simulator()), args=["mcp-stdio", "--era", era])
    with anyio.fail_after(SECONDS):
        async with Client(program) as running:
            assert await names(running) >= SIMULATED
            assert (await progress(running, "count", 3))[0] == [1, 2, 3]


@pytest.mark.parametrize("mode", MODES)
async def test_sdk_agrees_with_itself(web, mode):
    async with client(web, mode) as running:
        assert await names(running) == WRITTEN
        result = await running.call_tool("multiply", {"a": 2, "b": 3})
        assert result.structured_content == {"result": 6}


# Through the gateway.


@pytest.mark.parametrize("mode", MODES)
async def test_all_tools_under_their_full_names(mcp_gateway, mode):
    async with client(f"{mcp_gateway}/mcp", mode) as running:
        assert running.protocol_version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
        found = await names(running)
    wanted = {f"{server}_{tool}" for server in ["local", "web"] for tool in WRITTEN}
    wanted |= {f"{server}_{tool}" for server in ["old", "new"] for tool in SIMULATED}
    assert found == wanted


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("server, tool, member, wanted", CALCULATIONS)
async def test_tools_are_called(mcp_gateway, mode, server, tool, member, wanted):
    async with client(f"{mcp_gateway}/mcp", mode) as running:
        result = await running.call_tool(f"{server}_{tool}", {"a": 2, "b": 3})
    assert (result.is_error, result.structured_content) == (False, {member: wanted})
    async with client(f"{mcp_gateway}/mcp/{server}", mode) as running:
        assert tool in await names(running)
        result = await running.call_tool(tool, {"a": 2, "b": 3})
    assert (result.is_error, result.structured_content) == (False, {member: wanted})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "tool, arguments",
    [
        ("old_fail", {"message": "it is so"}),
        ("new_fail", {"message": "it is so"}),
        ("local_refuse", {"why": "it is so"}),
        ("web_refuse", {"why": "it is so"}),
    ],
)
async def test_a_tools_own_failure_is_a_result(mcp_gateway, mode, tool, arguments):
    async with client(f"{mcp_gateway}/mcp", mode) as running:
        result = await running.call_tool(tool, arguments)
    assert result.is_error
    assert "it is so" in result.content[0].text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tool", ["old_count", "new_count", "local_steps", "web_steps"])
async def test_progress_arrives(mcp_gateway, mode, tool):
    async with client(f"{mcp_gateway}/mcp", mode) as running:
        steps, result = await progress(running, tool, 4)
    assert steps == [1, 2, 3, 4]
    assert "4" in result.content[0].text


@pytest.mark.parametrize("mode", MODES)
async def test_many_calls_at_once_get_their_own_answers_and_progress(mcp_gateway, mode):
    answers = {}

    async def one(running: Client, number: int, server: str) -> None:
        steps, _ = await progress(running, f"{server}_{'steps' if server == 'local' else 'count'}", number)
        said = await running.call_tool("old_echo", {"number": number})
        answers[server, number] = (steps, said.structured_content)

    async with client(f"{mcp_gateway}/mcp", mode) as running:
        async with anyio.create_task_group() as calls:
            for number in range(1, 6):
                for server in ["old", "new", "local"]:
                    calls.start_soon(one, running, number, server)
    for (_, number), (steps, said) in answers.items():
        assert steps == list(range(1, number + 1))
        assert said == {"number": number}
    assert len(answers) == 15


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tool", ["nowhere_nothing", "nothing", "_add", "old_"])
async def test_a_tool_of_no_server_is_an_error(mcp_gateway, mode, tool):
    async with client(f"{mcp_gateway}/mcp", mode) as running:
        error = await refusal(running, tool, {})
    assert error.error.code == -32602
    assert error.error.data["code"] == "tool_not_found"


@pytest.mark.parametrize("mode", MODES)
async def test_what_a_server_says_of_a_tool_that_it_has_not_is_passed_on(mcp_gateway, mode):
    async with client(f"{mcp_gateway}/mcp", mode) as running:
        for server in ["old", "new"]:
            error = await refusal(running, f"{server}_nothing", {})
            assert (error.error.code, error.error.message) == (-32602, "Unknown tool: nothing")
        for server in ["local", "web"]:
            result = await running.call_tool(f"{server}_nothing", {})
            assert result.is_error
            assert result.content[0].text == "Unknown tool: nothing"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("key", ["sk-wrong", None])
async def test_a_wrong_credential_ends_in_an_error(mcp_gateway, mode, key):
    with pytest.raises(Exception) as caught:
        async with client(f"{mcp_gateway}/mcp", mode, key) as running:
            await running.list_tools()
    error = innermost(caught.value)
    assert not isinstance(error, TimeoutError)
    assert isinstance(error, (MCPError, httpx2.HTTPStatusError)), repr(error)


async def test_a_wrong_credential_is_a_401(mcp_gateway):
    async with httpx2.AsyncClient(timeout=SECONDS) as http:
        message = {"jsonrpc": "2.0", "id": 3, "method": "ping"}
        headers = {"accept": "application/json, text/event-stream", "authorization": "Bearer sk-wrong"}
        answer = await http.post(f"{mcp_gateway}/mcp", json=message, headers=headers)
        listed = await http.get(f"{mcp_gateway}/mcp/tools", headers=headers)
    assert answer.status_code == listed.status_code == 401
    assert answer.json()["jsonrpc"] == "2.0"
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_policys_refusal_names_the_policy(mcp_gateway, mode):
    async with client(f"{mcp_gateway}/mcp", mode) as running:
        error = await refusal(running, "old_big", {"bytes": 1})
        assert "no-big-answers" in error.error.message
        assert error.error.data["code"] == "policy_denied"
        assert error.error.data["request_id"]
        # Not only the tool: its arguments, too.
        error = await refusal(running, "local_multiply", {"a": 1000, "b": 1})
        assert "not-by-thousands" in error.error.message
        allowed = await running.call_tool("local_multiply", {"a": 999, "b": 1})
        assert allowed.structured_content == {"result": 999}


@pytest.mark.parametrize("mode", MODES)
async def test_a_server_that_is_down_is_said_to_be(mcp_gateway, mode):
    async with client(f"{mcp_gateway}/mcp", mode) as running:
        error = await refusal(running, "down_anything", {})
    assert "down" in error.error.message
    assert error.error.data["code"] == "upstream_unavailable"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", ["status", "not-json", "bad-json", "truncate", "empty-reply"])
async def test_a_server_that_fails_ends_the_call_in_an_error(mcp_gateway, mode, fault):
    async with client(f"{mcp_gateway}/mcp", mode) as running:
        for server in ["old", "new"]:
            error = await refusal(running, f"{server}_faulty", {"fault": f"fault={fault}"})
            assert server in error.error.message
            assert error.error.data["code"].startswith("upstream_")


async def test_servers_get_their_own_credentials_alone(mcp_gateway):
    async with client(f"{mcp_gateway}/mcp", "auto") as running:
        for server in ["old", "new"]:
            who = (await running.call_tool(f"{server}_whoami", {})).structured_content
            assert who["headers"]["authorization"] == [f"Bearer {SERVER_KEY}"]
            assert MASTER_KEY not in str(who)
        said = await running.call_tool("web_authorization", {})
        assert said.structured_content == {"result": f"Bearer {SERVER_KEY}"}
        variables = await running.call_tool("local_environment", {})
    variables = set(variables.structured_content["result"])
    assert "TOKEN" in variables
    assert variables - OWN <= PASSED | {"TOKEN"}


@pytest.mark.parametrize("mode", MODES)
async def test_a_caller_who_leaves_cancels_the_call(mcp_gateway, simulated, mode):
    for server in ["old", "new"]:
        before = (await stats(simulated))["cancelled"]
        async with client(f"{mcp_gateway}/mcp", mode) as running:
            async with anyio.create_task_group() as calls:
                calls.start_soon(running.call_tool, f"{server}_slow", {})
                await until(simulated, lambda now: now["waiting"] == 1)
                calls.cancel_scope.cancel()
        await until(simulated, lambda now: now["waiting"] == 0 and now["cancelled"] > before)


async def test_the_list_for_whoever_speaks_no_mcp(mcp_gateway):
    async with httpx2.AsyncClient(timeout=SECONDS) as http:
        headers = {"authorization": f"Bearer {MASTER_KEY}"}
        answer = await http.get(f"{mcp_gateway}/mcp/tools", headers=headers)
        getting = await http.get(f"{mcp_gateway}/mcp", headers=headers)
        ending = await http.delete(f"{mcp_gateway}/mcp", headers=headers)
    assert answer.status_code == 200
    listed = {tool["name"] for tool in answer.json()["tools"]}
    assert {"old_add", "new_add", "local_multiply", "web_multiply"} <= listed
    assert [entry["server"] for entry in answer.json()["unavailable"]] == ["down"]
    assert getting.status_code == ending.status_code == 405


async def test_the_strict_servers_had_nothing_to_refuse(mcp_gateway, simulated):
    """Runs last: of all that came before, only what these tests did on purpose was refused."""
    on_purpose = ("Unknown tool", "the credential is wrong")
    # To `server/discover`, by which it is found of which era a server is.
    probed = ("mcp-session-id is missing",)
    refusals = (await stats(simulated))["refusals"]
    assert [why for why in refusals if not any(word in why for word in on_purpose + probed)] == []


async def progress(running: Client, tool: str, n: int):
    """Calls a tool that reports its progress. All of it has come before the result."""
    steps = []

    async def step(done: float, total: float | None, message: str | None) -> None:
        steps.append((done, total))

    result = await running.call_tool(tool, {"n": n}, progress_callback=step)
    assert {total for _, total in steps} <= {n}
    return [done for done, _ in steps], result


async def stats(simulated: str) -> dict:
    async with httpx2.AsyncClient(timeout=SECONDS) as http:
        return (await http.get(f"{simulated}/mcp-stats")).json()


async def until(simulated: str, holds) -> None:
    """Asks again and again; the time is only a guard."""
    guard = time.monotonic() + SECONDS
    while not holds(now := await stats(simulated)):
        assert time.monotonic() < guard, now
