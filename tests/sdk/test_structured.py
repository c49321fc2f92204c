"""Answers that keep to a schema."""

import json
from typing import Literal

import pytest
from pydantic import BaseModel

from sdk import ANTHROPICS, HELLO, OPENAIS, answer, directives, entered, items

pytestmark = pytest.mark.anyio

EVERY = pytest.mark.parametrize("model", [ANTHROPICS, OPENAIS])


class Step(BaseModel):
    what: str
    minutes: float


class Recipe(BaseModel):
    name: str
    servings: int
    kind: Literal["hot", "cold"]
    vegan: bool
    steps: list[Step]
    note: str | None


# What the simulated provider makes of it.
RECIPE = Recipe(
    name="text",
    servings=1,
    kind="hot",
    vegan=True,
    steps=[Step(what="text", minutes=1.5)],
    note="text",
)


@EVERY
async def test_chat_parses(openai, model):
    completion = await answer(
        openai.chat.completions.parse(
            model=model, messages=HELLO, response_format=Recipe, user=directives()
        )
    )
    assert completion.choices[0].message.parsed == RECIPE
    assert completion.choices[0].finish_reason == "stop"


@EVERY
async def test_the_chat_stream_helper_parses(openai, model):
    manager = openai.chat.completions.stream(
        model=model, messages=HELLO, response_format=Recipe, user=directives(chunking=11)
    )
    async with entered(manager) as stream:
        events = await items(stream)
        completion = await answer(stream.get_final_completion())
    assert len([event for event in events if event.type == "content.delta"]) > 5
    assert completion.choices[0].message.parsed == RECIPE


@EVERY
async def test_chat_gives_any_object(openai, model):
    completion = await answer(
        openai.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Answer in JSON."}],
            response_format={"type": "json_object"},
            user=directives(),
        )
    )
    assert isinstance(json.loads(completion.choices[0].message.content), dict)


@EVERY
async def test_responses_parse(openai, model):
    response = await answer(
        openai.responses.parse(model=model, input="Hello", text_format=Recipe, user=directives())
    )
    assert response.output_parsed == RECIPE


@EVERY
async def test_the_responses_stream_helper_parses(openai, model):
    manager = openai.responses.stream(
        model=model, input="Hello", text_format=Recipe, user=directives()
    )
    async with entered(manager) as stream:
        response = await answer(stream.get_final_response())
    assert response.output_parsed == RECIPE


@EVERY
async def test_messages_parse(anthropic, model):
    message = await answer(
        anthropic.messages.parse(
            model=model,
            max_tokens=200,
            messages=HELLO,
            output_format=Recipe,
            metadata={"user_id": directives()},
        )
    )
    assert message.parsed_output == RECIPE


@EVERY
async def test_the_messages_stream_helper_parses(anthropic, model):
    manager = anthropic.messages.stream(
        model=model,
        max_tokens=200,
        messages=HELLO,
        output_format=Recipe,
        metadata={"user_id": directives()},
    )
    async with entered(manager) as stream:
        message = await answer(stream.get_final_message())
    assert message.parsed_output == RECIPE


async def test_a_form_that_is_cut_is_no_answer(openai):
    completion = await answer(
        openai.chat.completions.create(
            model=ANTHROPICS,
            messages=HELLO,
            max_completion_tokens=2,
            response_format={
                "type": "json_schema",
                "json_schema": {
                    "name": "place",
                    "strict": True,
                    "schema": {
                        "type": "object",
                        "properties": {"city": {"type": "string"}},
                        "required": ["city"],
                        "additionalProperties": False,
                    },
                },
            },
            user=directives(),
        )
    )
    assert completion.choices[0].finish_reason == "length"
    assert completion.choices[0].message.content == '{"city":"tex'
