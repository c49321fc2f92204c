"""Refusals, as each SDK's own exceptions."""

import anthropic as anthropic_sdk
import openai as openai_sdk
import pytest

from sdk import HELLO, answer, directives

pytestmark = pytest.mark.anyio

MIB = 1 << 20
MESSAGE = {"model": "claude-sim", "max_tokens": 10, "messages": HELLO}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses"])
async def test_openai_unknown_model(openai, endpoint, stream):
    with pytest.raises(openai_sdk.NotFoundError) as caught:
        await answer(generate(openai, endpoint, "gpt-none", stream=stream))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert caught.value.type == "not_found_error"
    assert caught.value.request_id


async def test_openai_unknown_model_for_embeddings(openai):
    with pytest.raises(openai_sdk.NotFoundError) as caught:
        await answer(openai.embeddings.create(model="gpt-none", input="Hello"))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic_unknown_model(anthropic, stream):
    call = MESSAGE | {"model": "claude-none", "stream": stream}
    with pytest.raises(anthropic_sdk.NotFoundError) as caught:
        await answer(anthropic.messages.create(**call))
    assert caught.value.type == "not_found_error"
    assert caught.value.body["request_id"] == caught.value.response.headers["x-request-id"]


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses"])
async def test_openai_model_of_the_wrong_type(openai, endpoint):
    with pytest.raises(openai_sdk.BadRequestError) as caught:
        await answer(generate(openai, endpoint, 7))
    assert (caught.value.code, caught.value.param) == ("invalid_request_body", "model")
    assert caught.value.type == "invalid_request_error"


async def test_anthropic_model_of_the_wrong_type(anthropic):
    with pytest.raises(anthropic_sdk.BadRequestError) as caught:
        await answer(anthropic.messages.create(**MESSAGE | {"model": 7}))
    assert caught.value.type == "invalid_request_error"
    assert "model" in caught.value.api_message


async def test_openai_body_over_the_limit(openai):
    with pytest.raises(openai_sdk.APIStatusError) as caught:
        await answer(
            openai.chat.completions.create(model="sim-1", messages=text_of(MIB), stream=True)
        )
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")


async def test_anthropic_body_over_the_limit(anthropic):
    with pytest.raises(anthropic_sdk.APIStatusError) as caught:
        await answer(anthropic.messages.create(**MESSAGE | {"messages": text_of(MIB)}))
    assert (caught.value.status_code, caught.value.type) == (413, "request_too_large")


async def test_a_body_just_under_the_limit_is_served(openai, anthropic):
    messages = text_of(MIB - 1024)
    completion = await answer(
        openai.chat.completions.create(model="sim-1", messages=messages, user=directives())
    )
    assert completion.choices[0].finish_reason == "stop"
    message = await answer(
        anthropic.messages.create(
            **MESSAGE | {"messages": messages}, metadata={"user_id": directives()}
        )
    )
    assert message.stop_reason == "end_turn"


async def test_a_client_goes_on_after_a_refusal(openai):
    for refused in [{"messages": text_of(MIB)}, {"model": 7}, {"model": "gpt-none"}]:
        with pytest.raises(openai_sdk.APIStatusError):
            await answer(
                openai.chat.completions.create(**{"model": "sim-1", "messages": HELLO} | refused)
            )
        completion = await answer(
            openai.chat.completions.create(model="sim-1", messages=HELLO, user=directives())
        )
        assert completion.choices[0].finish_reason == "stop"


async def test_openai_wrong_base_url(openai):
    with pytest.raises(openai_sdk.NotFoundError) as caught:
        await answer(openai.with_options(base_url=f"{openai.base_url}v1").models.list())
    assert caught.value.code == "not_found"


async def test_openai_credentials_that_differ(openai):
    with pytest.raises(openai_sdk.BadRequestError) as caught:
        await answer(openai.models.list(extra_headers={"x-api-key": "another"}))
    assert caught.value.code == "conflicting_credentials"


async def test_openai_rate_limit_of_the_provider(openai):
    user = directives(fault="retry-after", status=429, seconds=7)
    with pytest.raises(openai_sdk.RateLimitError) as caught:
        await answer(openai.chat.completions.create(model="sim-1", messages=HELLO, user=user))
    assert caught.value.response.headers["retry-after"] == "7"


async def test_anthropic_rate_limit_of_the_provider(anthropic):
    wanted = {"user_id": directives(fault="retry-after", status=429, seconds=7)}
    with pytest.raises(anthropic_sdk.RateLimitError) as caught:
        await answer(anthropic.messages.create(**MESSAGE, metadata=wanted))
    assert caught.value.response.headers["retry-after"] == "7"


def generate(client, endpoint: str, model, **options):
    """A call of one of the endpoints that generate text."""
    match endpoint:
        case "chat":
            return client.chat.completions.create(model=model, messages=HELLO, **options)
        case "completions":
            return client.completions.create(model=model, prompt="Hello", **options)
        case "responses":
            return client.responses.create(model=model, input="Hello", **options)


def text_of(size: int) -> list[dict]:
    """Messages of somewhat more than `size` bytes."""
    return [{"role": "user", "content": "x" * size}]
