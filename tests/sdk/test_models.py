"""The models, as either SDK lists them."""

import anthropic as anthropic_sdk
import openai as openai_sdk
import pytest

from sdk import answer, items

pytestmark = pytest.mark.anyio

MODELS = {"sim-1", "gpt-4o-mini", "claude-sim", "claude-sonnet-4-5"}


async def test_openai_lists(openai):
    models = await items(openai.models.list())
    assert len(models) == len(MODELS)
    assert {model.id for model in models} == MODELS
    assert {model.object for model in models} == {"model"}


async def test_openai_retrieves(openai):
    model = await answer(openai.models.retrieve("gpt-4o-mini"))
    assert (model.id, model.object) == ("gpt-4o-mini", "model")


async def test_openai_finds_no_other(openai):
    with pytest.raises(openai_sdk.NotFoundError) as caught:
        await answer(openai.models.retrieve("gpt-none"))
    assert caught.value.code == "model_not_found"


async def test_anthropic_lists(anthropic):
    models = await items(anthropic.models.list())
    assert len(models) == len(MODELS)
    assert {model.id for model in models} == MODELS
    assert {model.type for model in models} == {"model"}


async def test_anthropic_retrieves(anthropic):
    model = await answer(anthropic.models.retrieve("claude-sonnet-4-5"))
    assert (model.id, model.type) == ("claude-sonnet-4-5", "model")


async def test_anthropic_finds_no_other(anthropic):
    with pytest.raises(anthropic_sdk.NotFoundError) as caught:
        await answer(anthropic.models.retrieve("claude-none"))
    assert caught.value.type == "not_found_error"
