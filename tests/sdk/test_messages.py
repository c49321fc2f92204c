"""Anthropic's messages."""

import pytest

from sdk import HELLO, TOKEN, answer, directives, entered, first, items

pytestmark = pytest.mark.anyio

# What every call names.
CALL = {"model": "claude-sim", "max_tokens": 100, "messages": HELLO}


def metadata(**wanted) -> dict:
    """Where the simulated provider finds its directives."""
    return {"user_id": directives(**wanted)}


@pytest.mark.parametrize("model", ["claude-sim", "claude-sonnet-4-5"])
async def test_message(anthropic, model):
    message = await answer(
        anthropic.messages.create(
            **CALL | {"model": model}, metadata=metadata(tokens=5, prompt_tokens=11)
        )
    )
    assert (message.type, message.role) == ("message", "assistant")
    assert [block.text for block in message.content] == [TOKEN * 5]
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 5)


async def test_the_limit_reaches_the_provider(anthropic):
    message = await answer(
        anthropic.messages.create(**CALL | {"max_tokens": 3}, metadata=metadata(tokens=5))
    )
    assert message.content[0].text == TOKEN * 3
    assert message.stop_reason == "max_tokens"


async def test_cached_tokens_are_reported(anthropic):
    wanted = metadata(tokens=2, prompt_tokens=30, cached_tokens=8, cache_write_tokens=4)
    message = await answer(anthropic.messages.create(**CALL, metadata=wanted))
    assert message.usage.input_tokens == 18
    assert message.usage.cache_read_input_tokens == 8
    assert message.usage.cache_creation_input_tokens == 4


async def test_stream_of_events(anthropic):
    wanted = metadata(tokens=5, prompt_tokens=11)
    stream = await answer(anthropic.messages.create(**CALL, stream=True, metadata=wanted))
    events = await items(stream)
    # The SDK keeps `ping` to itself.
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 5,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0].message.usage.input_tokens == 11
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert deltas == [TOKEN] * 5
    assert events[-2].delta.stop_reason == "end_turn"
    assert events[-2].usage.output_tokens == 5


async def test_the_stream_helper_gives_the_text(anthropic):
    async with entered(anthropic.messages.stream(**CALL, metadata=metadata(tokens=5))) as stream:
        assert await items(stream.text_stream) == [TOKEN] * 5


async def test_the_stream_helper_gives_the_message(anthropic):
    wanted = metadata(tokens=5, prompt_tokens=11)
    async with entered(anthropic.messages.stream(**CALL, metadata=wanted)) as stream:
        message = await answer(stream.get_final_message())
    assert message.content[0].text == TOKEN * 5
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 5)


@pytest.mark.parametrize("form", [{"chunking": 1}, {"chunking": 7, "line": "crlf"}])
async def test_text_survives_however_the_stream_is_cut(anthropic, form):
    wanted = metadata(unicode="true", text_bytes=6, tokens=4, **form)
    async with entered(anthropic.messages.stream(**CALL, metadata=wanted)) as stream:
        assert await answer(stream.get_final_text()) == 'é"日' * 4


async def test_events_do_not_wait_for_those_after_them(anthropic):
    # After the start, the block's start, the ping and two tokens.
    wanted = metadata(tokens=9, fault="stall", after=5)
    stream = await answer(anthropic.messages.create(**CALL, stream=True, metadata=wanted))
    # The provider says nothing more, ever. Whoever holds events back has none to give.
    events = await first(stream, 4)
    assert [event.delta.text for event in events[2:]] == [TOKEN] * 2
    await answer(stream.close())


async def test_count_tokens(anthropic):
    call = {key: value for key, value in CALL.items() if key != "max_tokens"}
    wanted = {"metadata": metadata(prompt_tokens=42)}
    count = await answer(anthropic.messages.count_tokens(**call, extra_body=wanted))
    assert count.input_tokens == 42
