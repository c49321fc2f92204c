"""Drives a synchronous and an asynchronous client by the same test, and the simulated provider."""

import inspect
from contextlib import asynccontextmanager

HELLO = [{"role": "user", "content": "Hello"}]
# The text of one token.
TOKEN = "token "
# One model of each provider's dialect.
OPENAIS, ANTHROPICS = "sim-1", "claude-sim"
# The smallest PNG, and what the simulated provider says of it.
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SEEN = "I see an image of image/png, 70 bytes."


def directives(**items) -> str:
    """What the simulated provider shall do, without pauses; for `user` or `metadata.user_id`."""
    chosen = {"first_token_ms": 0, "token_ms": 0} | items
    return ",".join(f"{key}={value}" for key, value in chosen.items())


async def answer(result):
    """The result of a call."""
    return await result if inspect.isawaitable(result) else result


async def items(stream) -> list:
    """Everything that a stream or a list of pages has."""
    received, error = await drain(stream)
    if error is not None:
        raise error
    return received


async def drain(stream) -> tuple[list, Exception | None]:
    """Everything that a stream has, and what it raised at last."""
    received = []
    try:
        if hasattr(stream, "__aiter__"):
            async for item in stream:
                received.append(item)
        else:
            for item in stream:
                received.append(item)
    except Exception as error:
        return received, error
    return received, None


async def first(stream, count: int) -> list:
    """The first `count` items; the rest is not waited for."""
    received = []
    for _ in range(count):
        received.append(await anext(stream) if hasattr(stream, "__anext__") else next(stream))
    return received


@asynccontextmanager
async def entered(manager):
    """What a context manager gives, of either kind."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value
