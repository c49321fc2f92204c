"""Each SDK with models whose provider speaks the other's dialect. The provider is strict: what its real
counterpart would refuse, it refuses."""

import json

import pytest

from sdk import HELLO, TOKEN, answer, directives, entered, items

pytestmark = pytest.mark.anyio

# The smallest PNG.
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


async def test_chat_by_anthropics_provider(openai):
    completion = await answer(
        openai.chat.completions.create(
            model="claude-sim", messages=HELLO, user=directives(tokens=5, prompt_tokens=11)
        )
    )
    assert completion.object == "chat.completion"
    assert completion.choices[0].message.content == TOKEN * 5
    assert completion.choices[0].finish_reason == "stop"
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (11, 5)


async def test_a_limit_is_the_finish_reason(openai, anthropic):
    completion = await answer(
        openai.chat.completions.create(
            model="claude-sim",
            messages=HELLO,
            max_completion_tokens=3,
            user=directives(tokens=9),
        )
    )
    assert completion.choices[0].finish_reason == "length"
    assert completion.choices[0].message.content == TOKEN * 3
    message = await answer(
        anthropic.messages.create(
            model="sim-1", messages=HELLO, max_tokens=3, metadata={"user_id": directives(tokens=9)}
        )
    )
    assert message.stop_reason == "max_tokens"
    assert message.content[0].text == TOKEN * 3


async def test_the_chat_stream_helper(openai):
    manager = openai.chat.completions.stream(
        model="claude-sim",
        messages=HELLO,
        stream_options={"include_usage": True},
        user=directives(tokens=5, prompt_tokens=11, chunking=7),
    )
    async with entered(manager) as stream:
        completion = await answer(stream.get_final_completion())
    assert completion.choices[0].message.content == TOKEN * 5
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.completion_tokens == 5


@pytest.mark.parametrize("model", ["claude-sim"])
async def test_responses(openai, model):
    response = await answer(
        openai.responses.create(
            model=model, input="Hello", user=directives(tokens=5), max_output_tokens=50
        )
    )
    assert response.status == "completed"
    assert response.output_text == TOKEN * 5
    assert response.usage.output_tokens == 5


async def test_a_stream_of_responses(openai):
    stream = await answer(
        openai.responses.create(
            model="claude-sim", input="Hello", stream=True, user=directives(tokens=5)
        )
    )
    events = await items(stream)
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == TOKEN * 5
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == TOKEN * 5


async def test_messages_by_openais_provider(anthropic):
    message = await answer(
        anthropic.messages.create(
            model="sim-1",
            messages=HELLO,
            max_tokens=50,
            system="Be brief.",
            stop_sequences=["END"],
            metadata={"user_id": directives(tokens=5, prompt_tokens=11)},
        )
    )
    assert message.type == "message" and message.role == "assistant"
    assert message.content[0].text == TOKEN * 5
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 5)


async def test_the_messages_stream_helper(anthropic):
    manager = anthropic.messages.stream(
        model="sim-1",
        messages=HELLO,
        max_tokens=50,
        metadata={"user_id": directives(tokens=5, chunking=3)},
    )
    async with entered(manager) as stream:
        message = await answer(stream.get_final_message())
    assert message.content[0].text == TOKEN * 5
    assert message.usage.output_tokens == 5


async def test_a_conversation_with_tools_and_a_picture_in_chat(openai):
    call = {"name": "weather", "arguments": json.dumps({"city": "Ulm"})}
    completion = await answer(
        openai.chat.completions.create(
            model="claude-sim",
            messages=[
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Where is this, and how is the weather there?"},
                        {
                            "type": "image_url",
                            "image_url": {"url": f"data:image/png;base64,{PICTURE}"},
                        },
                    ],
                },
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "Rain"},
            ],
            tools=[{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
            tool_choice="auto",
            parallel_tool_calls=False,
            user=directives(tokens=5),
        )
    )
    assert completion.choices[0].message.content == TOKEN * 5


async def test_a_conversation_with_tools_and_a_picture_in_messages(anthropic):
    message = await answer(
        anthropic.messages.create(
            model="sim-1",
            max_tokens=50,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Where is this, and how is the weather there?"},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": PICTURE},
                        },
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ulm"}}
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain"},
                        {"type": "text", "text": "And tomorrow?"},
                    ],
                },
            ],
            tools=[{"name": "weather", "description": "Tells it.", "input_schema": SCHEMA}],
            tool_choice={"type": "auto", "disable_parallel_tool_use": True},
            metadata={"user_id": directives(tokens=5)},
        )
    )
    assert message.content[0].text == TOKEN * 5


async def test_structured_output_reaches_the_provider(openai):
    completion = await answer(
        openai.chat.completions.create(
            model="claude-sim",
            messages=HELLO,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
            },
            user=directives(tokens=2),
        )
    )
    assert completion.choices[0].finish_reason == "stop"
