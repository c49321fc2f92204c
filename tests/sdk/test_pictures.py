"""Pictures and files. The simulated provider tells what it saw, so that none can be lost."""

import base64

import pytest

from sdk import ANTHROPICS, OPENAIS, PICTURE, SEEN, answer, directives

pytestmark = pytest.mark.anyio

PDF = base64.b64encode(b"%PDF-1.4 nothing more").decode()
SEEN_PDF = "I see a file of application/pdf, 21 bytes."
ADDRESS = "https://example.com/cat.png"
DATA_URL = f"data:image/png;base64,{PICTURE}"
EVERY = pytest.mark.parametrize("model", [ANTHROPICS, OPENAIS])


@EVERY
@pytest.mark.parametrize(
    "url, seen", [(DATA_URL, SEEN), (ADDRESS, f"I see an image at {ADDRESS}.")]
)
async def test_chat_shows_a_picture(openai, model, url, seen):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    completion = await answer(
        openai.chat.completions.create(
            model=model, messages=[{"role": "user", "content": parts}], user=directives()
        )
    )
    assert completion.choices[0].message.content == seen


@EVERY
async def test_chat_shows_a_file(openai, model):
    file = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
    completion = await answer(
        openai.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": [{"type": "file", "file": file}]}],
            user=directives(),
        )
    )
    assert completion.choices[0].message.content == SEEN_PDF


@EVERY
async def test_responses_show_a_picture_and_a_file(openai, model):
    parts = [
        {"type": "input_text", "text": "What are these?"},
        {"type": "input_image", "image_url": DATA_URL, "detail": "auto"},
        {
            "type": "input_file",
            "filename": "a.pdf",
            "file_data": f"data:application/pdf;base64,{PDF}",
        },
    ]
    response = await answer(
        openai.responses.create(
            model=model, input=[{"role": "user", "content": parts}], user=directives()
        )
    )
    assert response.output_text == f"{SEEN} {SEEN_PDF}"


@EVERY
@pytest.mark.parametrize(
    "source, seen",
    [
        ({"type": "base64", "media_type": "image/png", "data": PICTURE}, SEEN),
        ({"type": "url", "url": ADDRESS}, f"I see an image at {ADDRESS}."),
    ],
)
async def test_messages_show_a_picture(anthropic, model, source, seen):
    blocks = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    message = await answer(
        anthropic.messages.create(
            model=model,
            max_tokens=100,
            messages=[{"role": "user", "content": blocks}],
            metadata={"user_id": directives()},
        )
    )
    assert message.content[0].text == seen


@EVERY
async def test_messages_show_a_file(anthropic, model):
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    block = {"type": "document", "title": "a.pdf", "source": source}
    message = await answer(
        anthropic.messages.create(
            model=model,
            max_tokens=100,
            messages=[{"role": "user", "content": [block]}],
            metadata={"user_id": directives()},
        )
    )
    assert message.content[0].text == SEEN_PDF


@EVERY
async def test_a_tool_gives_a_picture(anthropic, model):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [image]}
    message = await answer(
        anthropic.messages.create(
            model=model,
            max_tokens=100,
            tools=[{"name": "look", "input_schema": {"type": "object", "properties": {}}}],
            messages=[
                {"role": "user", "content": "What is there?"},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [result]},
            ],
            metadata={"user_id": directives()},
        )
    )
    assert message.content[0].text == SEEN
