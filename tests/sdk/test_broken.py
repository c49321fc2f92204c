"""A provider that breaks off: the caller is told by an exception, and never misled."""

import anthropic as anthropic_sdk
import openai as openai_sdk
import pytest

from sdk import HELLO, TOKEN, answer, directives, drain, entered

pytestmark = pytest.mark.anyio

MESSAGE = {"model": "claude-sim", "max_tokens": 100, "messages": HELLO}

# After so many events; the large number means all but the last.
BREAKS = [
    f"fault={fault},after={after}"
    for fault in ["truncate", "truncate-mid-event", "malformed-sse", "reset"]
    for after in [1, 3, 1000]
]
BREAKS += ["fault=close-mid-body", "fault=empty-reply"]
# A reset may overtake what the provider sent before it. Then nothing has been forwarded, and the
# answer is an error from its first byte.
CODES = {"stream_interrupted", "upstream_error"}


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("endpoint", ["chat", "completions"])
async def test_openai_stream(openai, endpoint, how):
    received, error = await outcome(generate(openai, endpoint, how))
    assert isinstance(error, openai_sdk.APIError), received
    assert error.code in CODES
    assert error.type == "server_error"
    assert not finished(received) or "after=1000" in how


async def test_what_came_before_the_break_is_received(openai):
    received, error = await outcome(generate(openai, "chat", "fault=truncate,after=3"))
    assert isinstance(error, openai_sdk.APIError)
    assert error.code == "stream_interrupted"
    texts = [chunk.choices[0].delta.content for chunk in received]
    assert texts == ["", TOKEN, TOKEN]


@pytest.mark.parametrize("how", BREAKS)
async def test_responses_stream_tells_of_it(openai, how):
    received, error = await outcome(generate(openai, "responses", how))
    if error is None:
        assert received[-1].type == "error"
        error = received[-1]
    assert error.code in CODES
    ends = {"response.completed", "response.incomplete"}
    assert not ends & {event.type for event in received}


async def test_responses_stream_raises(openai):
    _, error = await outcome(generate(openai, "responses", "fault=truncate,after=3"))
    assert isinstance(error, openai_sdk.APIError)


async def test_responses_stream_helper_raises(openai):
    manager = openai.responses.stream(
        model="sim-1", input="Hello", user=f"{directives()},fault=truncate,after=3"
    )
    async with entered(manager) as stream:
        _, error = await drain(stream)
    assert isinstance(error, openai_sdk.APIError)


@pytest.mark.parametrize("how", BREAKS)
async def test_anthropic_stream(anthropic, how):
    received, error = await outcome(messages(anthropic, metadata(how)))
    assert isinstance(error, anthropic_sdk.APIError), received
    assert error.type == "api_error"
    assert "message_stop" not in {event.type for event in received}


@pytest.mark.parametrize("how", BREAKS)
async def test_anthropic_stream_helper(anthropic, how):
    with pytest.raises(anthropic_sdk.APIError) as caught:
        async with entered(anthropic.messages.stream(**MESSAGE, metadata=metadata(how))) as stream:
            await answer(stream.get_final_message())
    assert caught.value.type == "api_error"


async def test_the_providers_own_error_event_is_passed_on(openai, anthropic):
    how = "fault=error-event,after=3"
    received, error = await outcome(generate(openai, "chat", how))
    assert isinstance(error, openai_sdk.APIError)
    assert (len(received), error.type) == (3, "server_error")
    assert error.code not in CODES

    received, error = await outcome(messages(anthropic, metadata(how)))
    assert isinstance(error, anthropic_sdk.APIError)
    assert error.type == "overloaded_error"


@pytest.mark.parametrize(
    "how",
    ["truncate", "truncate-mid-event", "reset", "close-mid-body", "malformed-sse", "empty-reply"],
)
async def test_an_answer_that_is_not_a_stream(openai, anthropic, how):
    user = f"{directives()},fault={how}"
    with pytest.raises(openai_sdk.APIError):
        await answer(openai.chat.completions.create(model="sim-1", messages=HELLO, user=user))
    with pytest.raises(anthropic_sdk.APIError):
        await answer(anthropic.messages.create(**MESSAGE, metadata={"user_id": user}))


async def test_openai_page_instead_of_a_stream(openai):
    received, error = await outcome(generate(openai, "chat", "fault=not-json"))
    assert isinstance(error, openai_sdk.APIError), received


async def test_anthropic_page_instead_of_a_stream(anthropic):
    received, error = await outcome(messages(anthropic, metadata("fault=not-json")))
    assert isinstance(error, anthropic_sdk.APIError), received


@pytest.mark.parametrize("how", ["fault=truncate,after=3", "fault=reset,after=3"])
async def test_the_gateway_serves_on_after_a_break(openai, how):
    await outcome(generate(openai, "chat", how))
    received, error = await outcome(generate(openai, "chat", "tokens=2"))
    assert error is None
    assert finished(received)


async def outcome(call) -> tuple[list, Exception | None]:
    """What the stream that `call` begins gave, and what it raised, be it before its first item."""
    try:
        stream = await answer(call())
    except Exception as error:
        return [], error
    return await drain(stream)


def generate(client, endpoint: str, how: str):
    """Begins a stream of one of OpenAI's endpoints; for `outcome`."""
    options = {"model": "sim-1", "stream": True, "user": f"{directives()},{how}"}
    match endpoint:
        case "chat":
            return lambda: client.chat.completions.create(messages=HELLO, **options)
        case "completions":
            return lambda: client.completions.create(prompt="Hello", **options)
        case "responses":
            return lambda: client.responses.create(input="Hello", **options)


def messages(client, wanted: dict):
    """Begins a stream of Anthropic's messages; for `outcome`."""
    return lambda: client.messages.create(**MESSAGE, stream=True, metadata=wanted)


def metadata(how: str) -> dict:
    """Where the simulated provider finds what an Anthropic client wants of it."""
    return {"user_id": f"{directives()},{how}"}


def finished(chunks) -> bool:
    """Whether a chunk says why the text ended."""
    return any(choice.finish_reason for chunk in chunks for choice in chunk.choices)
