"""Embeddings, in both forms."""

import base64
import struct

import pytest

from sdk import answer, directives

pytestmark = pytest.mark.anyio


def expected(dimensions: int) -> list[float]:
    """What the simulated provider gives: sixteenths, which are exact in 32 bits."""
    return [index % 17 / 16 - 0.5 for index in range(dimensions)]


# Unless told, the SDK asks for base64 and decodes it.
@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}])
async def test_numbers(openai, options):
    result = await answer(
        openai.embeddings.create(
            model="sim-1", input="Hello", user=directives(prompt_tokens=7), **options
        )
    )
    assert [entry.embedding for entry in result.data] == [expected(256)]
    assert (result.usage.prompt_tokens, result.usage.total_tokens) == (7, 7)


async def test_base64(openai):
    result = await answer(
        openai.embeddings.create(
            model="sim-1", input="Hello", encoding_format="base64", dimensions=20
        )
    )
    floats = base64.b64decode(result.data[0].embedding, validate=True)
    assert list(struct.unpack("<20f", floats)) == expected(20)


async def test_several_inputs(openai):
    result = await answer(
        openai.embeddings.create(model="sim-1", input=["one", "two", "three"], dimensions=3)
    )
    assert [entry.index for entry in result.data] == [0, 1, 2]
    assert all(entry.embedding == expected(3) for entry in result.data)
