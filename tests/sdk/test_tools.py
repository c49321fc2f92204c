"""Calls of tools, over two turns: the call as it comes, and what is made of its result."""

import json

import pytest
from pydantic import BaseModel

import openai as openai_sdk
from anthropic import beta_async_tool, beta_tool

from sdk import ANTHROPICS, OPENAIS, TOKEN, answer, directives, entered, items

pytestmark = pytest.mark.anyio

ASK = [{"role": "user", "content": "How is the weather in Ulm?"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 2},
        "units": {"type": "string", "enum": ["metric", "imperial"]},
    },
    "required": ["city", "days", "units"],
    "additionalProperties": False,
}
# What the simulated provider makes of it.
ARGUMENTS = {"city": "text", "days": 2, "units": "metric"}
FUNCTIONS = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "Tells it.", "parameters": SCHEMA},
    },
    {"type": "function", "function": {"name": "clock"}},
]
TOOLS = [
    {"name": "weather", "description": "Tells it.", "input_schema": SCHEMA},
    {"name": "clock", "input_schema": {"type": "object"}},
]
EVERY = pytest.mark.parametrize("model", [ANTHROPICS, OPENAIS])


@EVERY
async def test_chat_calls_and_goes_on(openai, model):
    options = {"model": model, "tools": FUNCTIONS, "user": directives(tool_calls=2, tokens=3)}
    completion = await answer(openai.chat.completions.create(messages=ASK, **options))
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls = choice.message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "clock"]
    assert [json.loads(call.function.arguments) for call in calls] == [ARGUMENTS, {}]
    assert len({call.id for call in calls}) == 2

    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "Rain"} for call in reversed(calls)
    ]
    turns = [*ASK, choice.message, *results]
    completion = await answer(openai.chat.completions.create(messages=turns, **options))
    assert completion.choices[0].message.content == TOKEN * 3
    assert completion.choices[0].finish_reason == "stop"


@EVERY
async def test_chat_streams_calls_in_pieces(openai, model):
    stream = await answer(
        openai.chat.completions.create(
            model=model,
            messages=ASK,
            tools=FUNCTIONS,
            stream=True,
            user=directives(tool_calls=2),
        )
    )
    names, arguments, identifiers, finishes = {}, {0: [], 1: []}, {}, []
    for chunk in await items(stream):
        for choice in chunk.choices:
            finishes += [choice.finish_reason] if choice.finish_reason else []
            for call in choice.delta.tool_calls or []:
                if call.id:
                    identifiers[call.index], names[call.index] = call.id, call.function.name
                arguments[call.index].append(call.function.arguments or "")
    assert names == {0: "weather", 1: "clock"}
    assert identifiers[0] != identifiers[1]
    # In pieces, and not in one that somebody has waited for.
    assert len([piece for piece in arguments[0] if piece]) > 3
    assert json.loads("".join(arguments[0])) == ARGUMENTS
    assert json.loads("".join(arguments[1])) == {}
    assert finishes == ["tool_calls"]


@EVERY
async def test_the_chat_stream_helper_parses_arguments(openai, model):
    class Weather(BaseModel):
        city: str
        days: int

    manager = openai.chat.completions.stream(
        model=model,
        messages=ASK,
        tools=[openai_sdk.pydantic_function_tool(Weather, name="weather")],
        user=directives(tool_calls=1, chunking=5),
    )
    async with entered(manager) as stream:
        events = await items(stream)
        completion = await answer(stream.get_final_completion())
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.name for event in done] == ["weather"]
    call = completion.choices[0].message.tool_calls[0]
    assert call.function.parsed_arguments == Weather(city="text", days=1)


@EVERY
@pytest.mark.parametrize(
    "choice, name",
    [
        ("required", "weather"),
        ({"type": "function", "function": {"name": "clock"}}, "clock"),
    ],
)
async def test_a_forced_choice_is_a_call(openai, model, choice, name):
    completion = await answer(
        openai.chat.completions.create(
            model=model, messages=ASK, tools=FUNCTIONS, tool_choice=choice, user=directives()
        )
    )
    calls = completion.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == [name]


@EVERY
async def test_no_calls_where_none_may_be(openai, model):
    completion = await answer(
        openai.chat.completions.create(
            model=model,
            messages=ASK,
            tools=FUNCTIONS,
            tool_choice="none",
            user=directives(tool_calls=2, tokens=3),
        )
    )
    assert completion.choices[0].message.tool_calls is None
    assert completion.choices[0].message.content == TOKEN * 3


@EVERY
async def test_one_call_at_a_time(openai, anthropic, model):
    completion = await answer(
        openai.chat.completions.create(
            model=model,
            messages=ASK,
            tools=FUNCTIONS,
            parallel_tool_calls=False,
            user=directives(tool_calls=2),
        )
    )
    assert len(completion.choices[0].message.tool_calls) == 1
    message = await answer(
        anthropic.messages.create(
            model=model,
            max_tokens=100,
            messages=ASK,
            tools=TOOLS,
            tool_choice={"type": "auto", "disable_parallel_tool_use": True},
            metadata={"user_id": directives(tool_calls=2)},
        )
    )
    assert len(message.content) == 1


@EVERY
async def test_responses_call_and_go_on(openai, model):
    tools = [{"type": "function", **tool["function"]} for tool in FUNCTIONS]
    options = {"model": model, "tools": tools, "user": directives(tool_calls=2, tokens=3)}
    response = await answer(openai.responses.create(input=ASK, **options))
    calls = [item for item in response.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["weather", "clock"]
    assert [json.loads(call.arguments) for call in calls] == [ARGUMENTS, {}]
    assert response.output_text == ""

    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "Rain"}
        for call in calls
    ]
    turns = [*ASK, *response.output, *results]
    response = await answer(openai.responses.create(input=turns, **options))
    assert response.output_text == TOKEN * 3


@EVERY
async def test_responses_stream_calls_in_pieces(openai, model):
    manager = openai.responses.stream(
        model=model,
        input=ASK,
        tools=[{"type": "function", **FUNCTIONS[0]["function"]}],
        user=directives(tool_calls=2),
    )
    async with entered(manager) as stream:
        events = await items(stream)
        response = await answer(stream.get_final_response())
    deltas = [event for event in events if event.type == "response.function_call_arguments.delta"]
    places = {event.output_index for event in deltas}
    assert len(places) == 2 and len(deltas) > 6
    for place in places:
        text = "".join(event.delta for event in deltas if event.output_index == place)
        assert json.loads(text) == ARGUMENTS
    assert [json.loads(item.arguments) for item in response.output] == [ARGUMENTS] * 2


@EVERY
async def test_messages_call_and_go_on(anthropic, model):
    options = {
        "model": model,
        "max_tokens": 100,
        "tools": TOOLS,
        "metadata": {"user_id": directives(tool_calls=2, tokens=3)},
    }
    message = await answer(anthropic.messages.create(messages=ASK, **options))
    assert message.stop_reason == "tool_use"
    assert [block.type for block in message.content] == ["tool_use"] * 2
    assert [block.name for block in message.content] == ["weather", "clock"]
    assert [block.input for block in message.content] == [ARGUMENTS, {}]

    results = [
        {"type": "tool_result", "tool_use_id": message.content[0].id, "content": "Rain"},
        {
            "type": "tool_result",
            "tool_use_id": message.content[1].id,
            "content": [{"type": "text", "text": "It stands still."}],
        },
    ]
    turns = [
        *ASK,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [*results, {"type": "text", "text": "And tomorrow?"}]},
    ]
    message = await answer(anthropic.messages.create(messages=turns, **options))
    assert message.content[0].text == TOKEN * 3
    assert message.stop_reason == "end_turn"


@EVERY
async def test_messages_stream_calls_in_pieces(anthropic, model):
    manager = anthropic.messages.stream(
        model=model,
        max_tokens=100,
        messages=ASK,
        tools=TOOLS,
        metadata={"user_id": directives(tool_calls=2, chunking=9)},
    )
    async with entered(manager) as stream:
        events = await items(stream)
        message = await answer(stream.get_final_message())
    pieces = [event.partial_json for event in events if event.type == "input_json"]
    assert len([piece for piece in pieces if piece]) > 3
    assert [block.input for block in message.content] == [ARGUMENTS, {}]
    assert message.stop_reason == "tool_use"


@EVERY
@pytest.mark.parametrize(
    "choice, name", [({"type": "any"}, "weather"), ({"type": "tool", "name": "clock"}, "clock")]
)
async def test_a_forced_choice_of_messages_is_a_call(anthropic, model, choice, name):
    message = await answer(
        anthropic.messages.create(
            model=model,
            max_tokens=100,
            messages=ASK,
            tools=TOOLS,
            tool_choice=choice,
            metadata={"user_id": directives()},
        )
    )
    assert [block.name for block in message.content] == [name]


@EVERY
async def test_the_tool_runner_makes_both_turns(anthropic, model):
    asked = []
    is_async = type(anthropic).__name__.startswith("Async")

    def weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: The city.
        """
        asked.append(city)
        return "Rain"

    async def weather_async(city: str) -> str:
        return weather(city)

    weather_async.__doc__ = weather.__doc__
    tool = beta_async_tool(name="weather")(weather_async) if is_async else beta_tool(weather)
    runner = anthropic.beta.messages.tool_runner(
        model=model,
        max_tokens=100,
        messages=ASK,
        tools=[tool],
        # The provider keeps no conversations.
        thread=False,
        metadata={"user_id": directives(tool_calls=1, tokens=3)},
    )
    message = await answer(runner.until_done())
    assert asked == ["text"]
    assert message.content[0].text == TOKEN * 3
