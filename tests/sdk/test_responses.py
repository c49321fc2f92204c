"""The Responses API."""

import pytest

from sdk import TOKEN, answer, directives, entered, items

pytestmark = pytest.mark.anyio


async def test_response(openai):
    response = await answer(
        openai.responses.create(
            model="sim-1", input="Hello", user=directives(tokens=5, prompt_tokens=11)
        )
    )
    assert response.status == "completed"
    assert response.output_text == TOKEN * 5
    assert (response.usage.input_tokens, response.usage.output_tokens) == (11, 5)


async def test_response_stream(openai):
    stream = await answer(
        openai.responses.create(
            model="sim-1",
            input="Hello",
            stream=True,
            user=directives(tokens=5, prompt_tokens=11),
        )
    )
    events = await items(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert deltas == [TOKEN] * 5
    assert events[-1].type == "response.completed"
    usage = events[-1].response.usage
    assert (usage.input_tokens, usage.output_tokens) == (11, 5)


async def test_a_stream_that_meets_its_limit_is_incomplete(openai):
    stream = await answer(
        openai.responses.create(
            model="sim-1",
            input="Hello",
            stream=True,
            max_output_tokens=16,
            user=directives(tokens=99),
        )
    )
    last = (await items(stream))[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert last.response.output_text == TOKEN * 16


async def test_the_stream_helper(openai):
    manager = openai.responses.stream(model="sim-1", input="Hello", user=directives(tokens=5))
    async with entered(manager) as stream:
        response = await answer(stream.get_final_response())
    assert response.output_text == TOKEN * 5
