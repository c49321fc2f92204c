"""What all tests share: one gateway, and each SDK's two clients on it."""

import os

import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from gateway import Gateway

# What would send the SDKs elsewhere, or with other credentials.
STRAY = ("OPENAI_", "ANTHROPIC_")
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}

# A retry could hide a failure, and a hang should fail soon.
CLIENT = {"api_key": "any", "max_retries": 0, "timeout": 20.0}


@pytest.fixture(scope="session", autouse=True)
def clean_environment():
    """The SDKs read nothing but what the tests give them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(STRAY) or name.lower() in PROXIES:
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    """The base URL of a gateway; it must leave with exit code 0 when all is done."""
    directory = tmp_path_factory.mktemp("gateway")
    directory.chmod(0o700)
    running = Gateway(directory)
    yield running.url
    running.stop()


@pytest.fixture(params=[OpenAI, AsyncOpenAI])
async def openai(request, gateway, clean_environment):
    """Each of OpenAI's clients in turn; see `sdk` for how one test drives both."""
    client = request.param(base_url=f"{gateway}/v1", **CLIENT)
    yield client
    closed = client.close()
    if closed is not None:
        await closed


@pytest.fixture(params=[Anthropic, AsyncAnthropic])
async def anthropic(request, gateway, clean_environment):
    """Each of Anthropic's clients in turn; see `sdk` for how one test drives both."""
    client = request.param(base_url=gateway, **CLIENT)
    yield client
    closed = client.close()
    if closed is not None:
        await closed
