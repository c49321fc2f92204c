"""Reasoning: asked for, told, and kept over turns with its provider's seal."""

import pytest

import anthropic as anthropic_sdk
import openai as openai_sdk

from sdk import ANTHROPICS, HELLO, OPENAIS, TOKEN, answer, directives, entered, items

pytestmark = pytest.mark.anyio

# What the simulated provider thinks.
THOUGHT = "thought " * 4
EVERY = pytest.mark.parametrize("model", [ANTHROPICS, OPENAIS])
BUDGET = {"type": "enabled", "budget_tokens": 1024}
ADAPTIVE = {"type": "adaptive"}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
AGAIN = {"role": "user", "content": "And why?"}


@EVERY
async def test_an_effort_costs_tokens_in_chat(openai, model):
    completion = await answer(
        openai.chat.completions.create(
            model=model, messages=HELLO, reasoning_effort="low", user=directives(tokens=3)
        )
    )
    assert completion.choices[0].message.content == TOKEN * 3
    usage = completion.usage
    assert usage.completion_tokens_details.reasoning_tokens == 4
    assert usage.completion_tokens == 7


async def test_anthropics_thinking_is_seen_in_chat(openai):
    options = {"model": ANTHROPICS, "reasoning_effort": "high", "user": directives(tokens=3)}
    completion = await answer(openai.chat.completions.create(messages=HELLO, **options))
    message = completion.choices[0].message
    assert message.reasoning_content == THOUGHT
    assert message.thinking_blocks[0]["signature"]
    # As clients send messages back, with all that was in them.
    turns = [*HELLO, message, AGAIN]
    completion = await answer(openai.chat.completions.create(messages=turns, **options))
    assert completion.choices[0].message.content == TOKEN * 3


async def test_a_changed_thought_is_refused(openai):
    options = {"model": ANTHROPICS, "reasoning_effort": "high", "user": directives()}
    completion = await answer(openai.chat.completions.create(messages=HELLO, **options))
    message = completion.choices[0].message.to_dict()
    message["thinking_blocks"][0]["thinking"] = "something else"
    message.pop("reasoning_content")
    with pytest.raises(openai_sdk.BadRequestError) as caught:
        await answer(
            openai.chat.completions.create(messages=[*HELLO, message, AGAIN], **options)
        )
    assert "signature" in caught.value.message


async def test_thinking_is_streamed_before_the_text_in_chat(openai):
    stream = await answer(
        openai.chat.completions.create(
            model=ANTHROPICS,
            messages=HELLO,
            reasoning_effort="high",
            stream=True,
            user=directives(tokens=3),
        )
    )
    thoughts, text = "", ""
    for chunk in await items(stream):
        for choice in chunk.choices:
            thought = getattr(choice.delta, "reasoning_content", None) or ""
            assert not (thought and text), "a thought after the text"
            thoughts += thought
            text += choice.delta.content or ""
    assert (thoughts, text) == (THOUGHT, TOKEN * 3)


async def test_tools_and_thinking_in_chat(openai):
    function = {"name": "weather", "parameters": SCHEMA}
    options = {
        "model": ANTHROPICS,
        "reasoning_effort": "high",
        "tools": [{"type": "function", "function": function}],
        "user": directives(tool_calls=1, tokens=3),
    }
    completion = await answer(openai.chat.completions.create(messages=HELLO, **options))
    message = completion.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Rain"}
    turns = [*HELLO, message, result]
    completion = await answer(openai.chat.completions.create(messages=turns, **options))
    assert completion.choices[0].message.content == TOKEN * 3


@EVERY
async def test_responses_keep_their_reasoning(openai, model):
    options = {
        "model": model,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "user": directives(tokens=3),
    }
    response = await answer(openai.responses.create(input=HELLO, **options))
    assert [item.type for item in response.output] == ["reasoning", "message"]
    reasoning = response.output[0]
    assert "".join(part.text for part in reasoning.summary) == THOUGHT
    assert reasoning.encrypted_content
    assert response.usage.output_tokens_details.reasoning_tokens == 4

    turns = [*HELLO, *response.output, AGAIN]
    response = await answer(openai.responses.create(input=turns, **options))
    assert response.output_text == TOKEN * 3


@EVERY
async def test_a_stream_of_responses_tells_its_reasoning(openai, model):
    manager = openai.responses.stream(
        model=model,
        input=HELLO,
        reasoning={"effort": "medium", "summary": "auto"},
        user=directives(tokens=3),
    )
    async with entered(manager) as stream:
        events = await items(stream)
        response = await answer(stream.get_final_response())
    name = "response.reasoning_summary_text.delta"
    assert "".join(event.delta for event in events if event.type == name) == THOUGHT
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [item.type for item in response.output] == ["reasoning", "message"]


@pytest.mark.parametrize("thinking", [BUDGET, ADAPTIVE])
async def test_messages_keep_their_thinking(anthropic, thinking):
    options = {
        "model": ANTHROPICS,
        "max_tokens": 2000,
        "thinking": thinking,
        "tools": [{"name": "weather", "input_schema": SCHEMA}],
        "metadata": {"user_id": directives(tool_calls=1, tokens=3)},
    }
    message = await answer(anthropic.messages.create(messages=HELLO, **options))
    assert [block.type for block in message.content] == ["thinking", "tool_use"]
    assert message.content[0].thinking == THOUGHT
    result = {"type": "tool_result", "tool_use_id": message.content[1].id, "content": "Rain"}
    turns = [
        *HELLO,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    message = await answer(anthropic.messages.create(messages=turns, **options))
    assert [block.type for block in message.content] == ["thinking", "text"]


async def test_messages_with_a_changed_thought_are_refused(anthropic):
    options = {"model": ANTHROPICS, "max_tokens": 2000, "thinking": BUDGET}
    wanted = {"metadata": {"user_id": directives()}}
    message = await answer(anthropic.messages.create(messages=HELLO, **options, **wanted))
    thought = message.content[0].to_dict() | {"thinking": "something else"}
    turns = [
        *HELLO,
        {"role": "assistant", "content": [thought, message.content[1].to_dict()]},
        AGAIN,
    ]
    with pytest.raises(anthropic_sdk.BadRequestError) as caught:
        await answer(anthropic.messages.create(messages=turns, **options, **wanted))
    assert "signature" in str(caught.value)


async def test_the_messages_stream_helper_has_the_signature(anthropic):
    manager = anthropic.messages.stream(
        model=ANTHROPICS,
        max_tokens=2000,
        messages=HELLO,
        thinking=BUDGET,
        metadata={"user_id": directives(tokens=3)},
    )
    async with entered(manager) as stream:
        events = await items(stream)
        message = await answer(stream.get_final_message())
    assert len([event for event in events if event.type == "thinking"]) == 4
    assert message.content[0].thinking == THOUGHT
    assert message.content[0].signature
    assert message.content[1].text == TOKEN * 3


async def test_a_budget_becomes_an_effort(anthropic):
    message = await answer(
        anthropic.messages.create(
            model=OPENAIS,
            max_tokens=2000,
            messages=HELLO,
            thinking=BUDGET,
            metadata={"user_id": directives(tokens=3)},
        )
    )
    assert message.content[-1].text == TOKEN * 3
    assert message.usage.output_tokens == 7


async def test_reasoning_content_becomes_thinking(anthropic):
    options = {
        "model": OPENAIS,
        "max_tokens": 2000,
        "metadata": {"user_id": directives(tokens=3, reasoning_content="true")},
    }
    message = await answer(anthropic.messages.create(messages=HELLO, **options))
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking == THOUGHT
    # It has no seal, so its provider does not want it back.
    turns = [*HELLO, {"role": "assistant", "content": message.content}, AGAIN]
    message = await answer(anthropic.messages.create(messages=turns, **options))
    assert message.content[1].text == TOKEN * 3


async def test_a_conversation_goes_on_with_another_provider(anthropic):
    wanted = {"max_tokens": 2000, "metadata": {"user_id": directives(tokens=3)}}
    message = await answer(
        anthropic.messages.create(model=ANTHROPICS, messages=HELLO, thinking=BUDGET, **wanted)
    )
    turns = [*HELLO, {"role": "assistant", "content": message.content}, AGAIN]
    message = await answer(anthropic.messages.create(model=OPENAIS, messages=turns, **wanted))
    assert message.content[0].text == TOKEN * 3
