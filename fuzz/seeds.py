"""Writes a corpus for each fuzz target, and a dictionary of the words in it, from the tests' fixtures.

Usage: seeds.py DIRECTORY
"""

import hashlib
import pathlib
import re
import sys
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
UPSTREAMS = ["openai_chat", "openai_responses", "anthropic", "gemini", "bedrock"]
CLIENTS = ["openai_chat", "openai_responses", "anthropic"]
ENDPOINTS = 6

out = pathlib.Path(sys.argv[1])
words = {}


def seed(target, *parts):
    data = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    directory = out / target
    directory.mkdir(parents=True, exist_ok=True)
    (directory / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)
    words.setdefault(target, set()).update(
        word for word in re.findall(rb"[A-Za-z_:.-]{3,40}", data) if not re.fullmatch(rb"[.:-]+", word)
    )


def inner(text):
    """The value of a fixture's member `input`, as it is written."""
    after = text.split('"input": ', 1)[-1]
    marks = [',\n  "path"', ',\n  "output"', ',\n  "refusal"', ',\n  "broken"']
    ends = [after.find(mark) for mark in marks if mark in after]
    return after[: min(ends, default=len(after))]


def frames(lines):
    """Bedrock's stream of the events among a fixture's lines."""
    sent = b""
    for line in lines.splitlines():
        if line and line[0] not in "!?":
            name, _, payload = line.partition(" ")
            headers = b""
            for header, value in [(":message-type", "event"), (":event-type", name)]:
                headers += bytes([len(header)]) + header.encode() + b"\7" + len(value).to_bytes(2, "big") + value.encode()
            body = headers + payload.encode()
            prelude = (len(body) + 16).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
            frame = prelude + zlib.crc32(prelude).to_bytes(4, "big") + body
            sent += frame + zlib.crc32(frame).to_bytes(4, "big")
    return sent


for pair in sorted((ROOT / "chat/fixtures").iterdir()):
    client, upstream = (name for name in pair.name.split("-"))
    client, upstream = CLIENTS.index(client), UPSTREAMS.index(upstream)
    for file in sorted((pair / "requests").glob("*.json")):
        text = inner(file.read_text())
        seed("json", text)
        for model in range(5):
            seed("requests", bytes([client + 3 * model, 0x0F]), text)
        seed("requests", bytes([client, 0xF0]), text)
        for endpoint in range(ENDPOINTS):
            seed("peek", bytes([endpoint]), text)
    for kind in ["replies", "errors"]:
        for file in sorted((pair / kind).glob("*.json")):
            text = inner(file.read_text())
            seed("json", text)
            for pick in [upstream, upstream + 0x80 + (5 - 0x80 % 5) % 5]:
                seed("replies", bytes([pick, 29]), text)
            seed("sse", bytes([2 * (client % 3), 2, 30, 7]), text)
    for file in sorted((pair / "streams").glob("*.txt")):
        text = file.read_text().split("=== upstream\n", 1)[-1]
        stream = text.split("\n=== client\n", 1)[0]
        for asked in range(3):
            seed("streams", bytes([upstream + 5 * asked, 2, 30, 7]), stream)
        seed("streams", bytes([upstream + 5 * client, 0x81, 90]), stream)
        if UPSTREAMS[upstream] == "bedrock":
            sent = frames(stream)
            seed("streams", bytes([upstream + 5 * client, 0x41, 90]), sent)
            seed("streams", bytes([upstream + 5 * client, 0x41, 90]), sent, b"behind the end, no frame")
        for pick in range(2 * ENDPOINTS):
            seed("sse", bytes([pick, 2, 30, 7]), stream)
            seed("sse", bytes([pick, 0x82, 30, 7]), stream)

for file in sorted((ROOT / "src/dialects/fixtures").iterdir()):
    for pick in range(2 * ENDPOINTS):
        seed("sse", bytes([pick, 2, 40, 9]), file.read_bytes())
    if file.suffix == ".json":
        seed("json", file.read_bytes())

usage = '{"prompt_tokens":3,"completion_tokens":4,' + '"x":0,' * 3000 + '"total_tokens":7}'
for pick in range(2 * ENDPOINTS):
    seed("sse", bytes([pick, 1, 255]), '{"usage":' + usage + ',"service_tier":"flex"}')
    seed("sse", bytes([pick, 1, 255]), 'data: {"choices":[],"usage":' + usage + "}\n\ndata: [DONE]\n\n")
    for inner in ["response", "message", "usage"]:
        told = '{"service_tier":"flex","usage":{"input_tokens":1,"service_tier":"batch"}}'
        seed("sse", bytes([pick, 1, 9]), '{"' + inner + '":' + told + "}")

BODIES = [
    '{"model":"m","stream":true,"stream_options":{"include_usage":false,"x":1},"max_tokens":5}',
    '{"model":"m","stream":true,"stream_options":{ },"n":2,"best_of":3,"user":"u","service_tier":"auto"}',
    '{"model":"m","stream":true,"stream_options":null,"messages":[{"role":"user","content":"x"}]}',
    '{"mod\\u0065l":"\\u006d\\n\\ud83d\\ude00","metadata":{"user_id":"u"},"tools":[{"type":"function"}]}',
    '{"model":"m","prompt":["a",[1,2]],"max_completion_tokens":null,"prompt_cache_key":"k"}',
    '{"model":"m","conversation":{"id":"c"},"input":"' + "x" * 100 + '\\\\","previous_response_id":"r"}',
    "[" * 127 + "1" + "]" * 127,
    '{"a":' * 128 + "1" + "}" * 128,
    ' [ 1 , -0.5e+7 , true , false , null , "\\u00e9" , { } , [ ] ] ',
]
for body in BODIES:
    seed("json", body)
    for endpoint in range(ENDPOINTS):
        seed("peek", bytes([endpoint]), body)

for file in sorted((ROOT / "conf").glob("*.yaml")) + sorted((ROOT / "k8s").rglob("sluicegate.yaml")):
    seed("config", file.read_bytes())
for file in sorted((ROOT / "docs").glob("*.md")):
    for block in re.findall(r"```yaml\n(.*?)```", file.read_text(), re.S):
        seed("config", block)
    for block in re.findall(r"```(?:cedar|)\n(.*?)```", file.read_text(), re.S):
        if "permit" in block or "forbid" in block:
            seed("policies", block)
for file in sorted((ROOT / "src/migrate/fixtures").glob("*.out.yaml")):
    seed("config", file.read_bytes())
for file in sorted((ROOT / "policies").glob("*.cedar")):
    seed("policies", file.read_bytes())
    for statement in file.read_text().split(";"):
        seed("policies", statement, ";")

fixtures = ROOT / "src/migrate/fixtures"
for file in sorted(fixtures.glob("*.yaml")):
    if not file.name.endswith(".out.yaml"):
        included = fixtures / "included.yaml" if file.name == "including.yaml" else None
        seed("migrate", file.read_bytes(), b"\0" + included.read_bytes() if included else b"")

HEADER = '{"alg":"EdDSA","typ":"JWT","kid":"k"}'
CLAIMS = [
    '{"iss":"i","aud":"a","exp":1000100,"sub":"u"}',
    '{"iss":"i","aud":["b","a"],"exp":1000100.5,"nbf":1,"iat":2,"sub":"u","t":"red","r":{"s":["x","y"]},"x":{"y":1}}',
]
for header in [HEADER, '{"alg":"EdDSA"}', '{"alg":"Ed25519","typ":"at+jwt"}']:
    for claims in CLAIMS:
        seed("jwt", bytes([0, len(header)]), header, claims)
seed("jwt", b"\1", "eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJpIiwiYXVkIjoiYSIsImV4cCI6MTAwMDEwMH0.AAAA")
KEYS = [
    '{"kty":"OKP","crv":"Ed25519","kid":"k","use":"sig","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}',
    '{"kty":"oct","k":"AAAA"}',
    '{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","key_ops":["verify"]}',
    '{"kty":"RSA","n":"' + "sXch" * 86 + '","e":"AQAB","alg":"RS256"}',
]
seed("jwt", b"\2", '{"keys":[' + ",".join(KEYS) + "]}")
for key in KEYS:
    seed("jwt", b"\2", '{"keys":[' + key + "]}")

seed("frames", bytes.fromhex("0000" + "0000002400000000516356ad616e6f746865722074657374207061796c6f61648df80e65"))
block = b"\x0b:event-type\x07\0\x05start\1a\0\1b\x02\7\1c\6\0\1x\1d\4abcd\1e\x08abcdefgh\1f\x09abcdefghijklmnop"
for body in [b"", b'{"a":1}']:
    seed("frames", bytes([1, 1, 3]), bytes([len(block), len(body)]), block, body)
    seed("frames", bytes([1, 0]), bytes([0, len(body)]), body, bytes([len(block), 0]), block)

for lines in [
    "192.0.2.1",
    "198.51.100.7,192.0.2.1,10.9.9.9 , fd00::1",
    "198.51.100.7\n192.0.2.1\n10.9.9.9",
    "[2001:db8::1]:4711, [fd00::1]:80, 10.1.1.1:80",
    "::ffff:192.0.2.1, ::ffff:10.0.0.3, fe80::1%eth0, unknown",
]:
    seed("headers", b"\0", lines)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
for lines in [PARENT, f"{PARENT}\n{PARENT}", PARENT.replace("00-", "cc-", 1) + "-what"]:
    seed("headers", b"\1", lines)
for lines in ["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "a=1 ,, b=2\t\n0tenant@sys=a b"]:
    seed("headers", b"\2", lines)

# A row as postcard writes it: an id, numbers, texts, options.
row = bytes([16]) + bytes(15) + b"\7" + b"\1\2\4\1i\3key" + b"\0" * 6 + b"\4chat\1m\1p\1m\0\0\2ok" + b"\0" * 20
notes = b"\1\1c\x0e\5\1"
cancelled = b"\3" + bytes([16]) + bytes(16) + b"\1" + notes
for kind in [b"\1" + row + notes + notes, b"\2" + row + notes, cancelled]:
    seed("journal", b"\2", kind)
    seed("journal", b"\1", bytes([len(kind)]), kind, bytes([len(cancelled)]), cancelled)
seed("journal", b"\0sgledgr1", bytes([9, 0, 0, 0, 0, 0, 0, 0]), bytes(16))

def frame(kind, flags=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + payload

client = frame(4) + frame(1, 5, b"head") + frame(0, 1, b"data") + frame(3, 0, bytes(4)) + frame(6, 0, bytes(8))
seed("http2", bytes([1, 0, 4]), client)
seed("http2", bytes([2, 80, 4, 20]), frame(4) + frame(1, 4, b"ok") + frame(0, 1, b"x") + frame(7, 0, bytes(8)), client)
seed("http2", bytes([0, 0]), frame(1, 0, b"h") + frame(9, 0, b"i") + frame(9, 4, b"j") + frame(3, 0, bytes(4)) * 300)
seed("http2", bytes([0, 0]), frame(6, 0, bytes(8)) * 300)
seed("http2", bytes([0x80, 0]), b"GET / HTTP/1.1\r\n\r\n")

for pick in range(3):
    for target in ["/", "/v1/models?after=a/../b", "/v1/..;a=b/x", "/v1/%2e%2E/x", "/v1/models/a%2Fb;v=2"]:
        for lines in ["\nhost: gateway.test", "\nhost: [::1]:80\ncontent-length: 5", "\nhost:a\ntransfer-encoding: chunked"]:
            seed("screen", bytes([pick]), target, lines)
        seed("screen", bytes([pick | 0x80]), target, "\nhost:a\nconnection: keep-alive, te\nexpect: 100-continue")

JSON = [rb'"', rb"\u00e9", rb"\ud800", b"{", b"}", b"[", b"]", b":", b",", b"null", b"true", b"1e999", b"-0"]
for target, found in words.items():
    if target in ["json", "peek", "requests", "replies", "streams", "sse"]:
        found = {b'"' + word + b'"' for word in found} | set(JSON)
    lines = ["".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in word) for word in found]
    (out / f"{target}.dict").write_text("".join(f'"{line}"\n' for line in sorted(lines)))
