"""Chat completions and the legacy completions."""

import pytest

from sdk import HELLO, TOKEN, answer, directives, entered, first, items

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("model", ["sim-1", "gpt-4o-mini"])
async def test_chat(openai, model):
    completion = await answer(
        openai.chat.completions.create(
            model=model, messages=HELLO, user=directives(tokens=5, prompt_tokens=11)
        )
    )
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].message.content == TOKEN * 5
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.prompt_tokens == 11
    assert completion.usage.completion_tokens == 5
    assert completion.usage.total_tokens == 16


async def test_every_answer_has_a_request_id_of_its_own(openai):
    ids = set()
    for _ in range(2):
        completion = await answer(
            openai.chat.completions.create(model="sim-1", messages=HELLO, user=directives())
        )
        ids.add(completion._request_id)
    assert len(ids) == 2 and None not in ids


async def test_limits_and_choices_reach_the_provider(openai):
    completion = await answer(
        openai.chat.completions.create(
            model="sim-1",
            messages=HELLO,
            n=2,
            max_completion_tokens=3,
            user=directives(tokens=9),
        )
    )
    assert [choice.index for choice in completion.choices] == [0, 1]
    for choice in completion.choices:
        assert choice.message.content == TOKEN * 3
        assert choice.finish_reason == "length"


async def test_cached_and_reasoning_tokens_are_reported(openai):
    completion = await answer(
        openai.chat.completions.create(
            model="sim-1",
            messages=HELLO,
            user=directives(tokens=2, prompt_tokens=20, cached_tokens=8, reasoning_tokens=30),
        )
    )
    assert completion.usage.prompt_tokens_details.cached_tokens == 8
    assert completion.usage.completion_tokens_details.reasoning_tokens == 30
    assert completion.usage.completion_tokens == 32


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}])
async def test_a_stream_has_no_usage_that_nobody_asked_for(openai, options):
    stream = await answer(
        openai.chat.completions.create(
            model="sim-1", messages=HELLO, stream=True, user=directives(tokens=5), **options
        )
    )
    chunks = await items(stream)
    assert text_of(chunks) == TOKEN * 5
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert all(len(chunk.choices) == 1 for chunk in chunks)


async def test_a_stream_has_the_usage_that_was_asked_for(openai):
    stream = await answer(
        openai.chat.completions.create(
            model="sim-1",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
            user=directives(tokens=5, prompt_tokens=11),
        )
    )
    *chunks, last = await items(stream)
    assert text_of(chunks) == TOKEN * 5
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (11, 5)


async def test_the_stream_helper(openai):
    manager = openai.chat.completions.stream(
        model="sim-1", messages=HELLO, user=directives(tokens=5)
    )
    async with entered(manager) as stream:
        completion = await answer(stream.get_final_completion())
    assert completion.choices[0].message.content == TOKEN * 5
    assert completion.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "form",
    [
        {"chunking": 1},
        {"chunking": 7, "line": "crlf"},
        {"chunking": "coalesce", "comments": "true"},
    ],
)
async def test_text_survives_however_the_stream_is_cut(openai, form):
    stream = await answer(
        openai.chat.completions.create(
            model="sim-1",
            messages=HELLO,
            stream=True,
            user=directives(unicode="true", text_bytes=6, tokens=4, **form),
        )
    )
    assert text_of(await items(stream)) == 'é"日' * 4


async def test_events_do_not_wait_for_those_after_them(openai):
    stream = await answer(
        openai.chat.completions.create(
            model="sim-1",
            messages=HELLO,
            stream=True,
            user=directives(tokens=9, fault="stall", after=3),
        )
    )
    # The provider says nothing more, ever. Whoever holds events back has none to give.
    assert text_of(await first(stream, 3)) == TOKEN * 2
    await answer(stream.close())


async def test_completion(openai):
    completion = await answer(
        openai.completions.create(
            model="sim-1", prompt="Hello", user=directives(tokens=5, prompt_tokens=11)
        )
    )
    assert completion.choices[0].text == TOKEN * 5
    assert completion.choices[0].finish_reason == "stop"
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (11, 5)


@pytest.mark.parametrize("asked", [False, True])
async def test_completion_stream(openai, asked):
    options = {"stream_options": {"include_usage": True}} if asked else {}
    stream = await answer(
        openai.completions.create(
            model="sim-1", prompt="Hello", stream=True, user=directives(tokens=5), **options
        )
    )
    chunks = await items(stream)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == TOKEN * 5
    used = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage]
    assert used == ([5] if asked else [])
    assert len([chunk for chunk in chunks if not chunk.choices]) == (1 if asked else 0)


def text_of(chunks) -> str:
    """The text of a chat's chunks."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
