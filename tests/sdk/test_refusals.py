"""What the simulated provider refuses, as the real one would, comes to the client as its SDK's own exception,
in its own dialect, and with the provider's words."""

import anthropic as anthropic_sdk
import openai as openai_sdk
import pytest

from sdk import ANTHROPICS, HELLO, OPENAIS, answer, directives

pytestmark = pytest.mark.anyio

EVERY = pytest.mark.parametrize("model", [ANTHROPICS, OPENAIS])
STREAMS = pytest.mark.parametrize("stream", [False, True])
PICTURE = "data:image/png;base64,bm8gcGljdHVyZQ=="


@EVERY
@STREAMS
async def test_no_picture_in_chat(openai, model, stream):
    part = {"type": "image_url", "image_url": {"url": PICTURE}}
    with pytest.raises(openai_sdk.BadRequestError) as caught:
        await answer(
            openai.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": [part]}],
                stream=stream,
                user=directives(),
            )
        )
    assert caught.value.type == "invalid_request_error"
    assert "not what it is" in caught.value.message


@EVERY
@STREAMS
async def test_no_picture_in_messages(anthropic, model, stream):
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE.partition(",")[2]}
    with pytest.raises(anthropic_sdk.BadRequestError) as caught:
        await answer(
            anthropic.messages.create(
                model=model,
                max_tokens=100,
                messages=[{"role": "user", "content": [{"type": "image", "source": source}]}],
                stream=stream,
                metadata={"user_id": directives()},
            )
        )
    assert caught.value.type == "invalid_request_error"
    assert "not what it is" in caught.value.api_message


@EVERY
async def test_a_call_without_its_result(openai, model):
    call = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    turns = [*HELLO, {"role": "assistant", "tool_calls": [call]}, *HELLO]
    with pytest.raises(openai_sdk.BadRequestError) as caught:
        await answer(
            openai.chat.completions.create(model=model, messages=turns, user=directives())
        )
    assert "call_1" in caught.value.message


@EVERY
async def test_a_result_without_its_call(anthropic, model):
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain"}
    with pytest.raises(anthropic_sdk.BadRequestError) as caught:
        await answer(
            anthropic.messages.create(
                model=model,
                max_tokens=100,
                messages=[{"role": "user", "content": [result]}],
                metadata={"user_id": directives()},
            )
        )
    assert caught.value.type == "invalid_request_error"


async def test_reasoning_and_a_forced_tool(openai, anthropic):
    function = {"name": "clock", "parameters": {"type": "object", "properties": {}}}
    with pytest.raises(openai_sdk.BadRequestError) as caught:
        await answer(
            openai.chat.completions.create(
                model=ANTHROPICS,
                messages=HELLO,
                tools=[{"type": "function", "function": function}],
                tool_choice="required",
                reasoning_effort="high",
                user=directives(),
            )
        )
    # The gateway knows, and says it before the provider does.
    assert caught.value.param == "tool_choice"
    with pytest.raises(anthropic_sdk.BadRequestError) as refused:
        await answer(
            anthropic.messages.create(
                model=ANTHROPICS,
                max_tokens=2000,
                messages=HELLO,
                tools=[{"name": "clock", "input_schema": {"type": "object"}}],
                tool_choice={"type": "any"},
                thinking={"type": "enabled", "budget_tokens": 1024},
                metadata={"user_id": directives()},
            )
        )
    assert "forces tool use" in refused.value.api_message


async def test_a_name_that_fits_one_dialect_alone(anthropic):
    name = "n" * 100
    options = {
        "max_tokens": 100,
        "messages": HELLO,
        "tools": [{"name": name, "input_schema": {"type": "object"}}],
        "metadata": {"user_id": directives(tool_calls=1)},
    }
    message = await answer(anthropic.messages.create(model=ANTHROPICS, **options))
    assert message.content[0].name == name
    with pytest.raises(anthropic_sdk.BadRequestError) as caught:
        await answer(anthropic.messages.create(model=OPENAIS, **options))
    assert "too long" in caught.value.api_message


async def test_temperatures_that_fit_one_dialect_alone(openai):
    options = {"messages": HELLO, "temperature": 1.5, "user": directives(tokens=1)}
    await answer(openai.chat.completions.create(model=OPENAIS, **options))
    with pytest.raises(openai_sdk.BadRequestError) as caught:
        await answer(openai.chat.completions.create(model=ANTHROPICS, **options))
    assert caught.value.param == "temperature"


@EVERY
async def test_blank_texts_are_no_content(openai, model):
    """What OpenAI takes and Anthropic refuses: white space between tool calls, empty instructions."""
    turns = [
        {"role": "system", "content": ""},
        *HELLO,
        {"role": "assistant", "content": " \n"},
        {"role": "user", "content": "And?"},
    ]
    completion = await answer(
        openai.chat.completions.create(model=model, messages=turns, user=directives(tokens=1))
    )
    assert completion.choices[0].finish_reason == "stop"


@EVERY
async def test_chat_may_begin_with_the_assistant(openai, model):
    turns = [{"role": "assistant", "content": "How can I help?"}, *HELLO]
    completion = await answer(
        openai.chat.completions.create(model=model, messages=turns, user=directives(tokens=1))
    )
    assert completion.choices[0].finish_reason == "stop"


@EVERY
async def test_neighbours_of_one_role(openai, anthropic, model):
    turns = [*HELLO, {"role": "user", "content": "Are you there?"}]
    completion = await answer(
        openai.chat.completions.create(model=model, messages=turns, user=directives(tokens=1))
    )
    assert completion.choices[0].finish_reason == "stop"
    message = await answer(
        anthropic.messages.create(
            model=model,
            max_tokens=100,
            messages=turns,
            metadata={"user_id": directives(tokens=1)},
        )
    )
    assert message.stop_reason == "end_turn"
