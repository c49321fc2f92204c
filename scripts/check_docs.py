#!/usr/bin/env python3
"""Says which links of the operator's pages lead nowhere, and which tests they name that don't exist.

Of all pages, it says which keys of the configuration they name that there are not.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "docs" / name for name in ("metrics.md", "runbook.md", "threat-model.md", "data-flow.md", "kubernetes.md", "tls.md")]

# Every page may name keys of the configuration.
ALL = [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in ("README.md", "CHANGELOG.md", "k8s/README.md", "loadtest/README.md"))]
SCHEMA = json.loads((ROOT / "docs/config.schema.json").read_text(encoding="utf-8"))
# `limits.queue.size`, `models.*.targets`, `providers.<name>.ca`, `auth.jwt[].audience`, with a value or without.
KEY = re.compile(r"`([a-z_]+(?:\[\])?(?:\.(?:[a-z0-9_]+|\*|<[a-z]+>)(?:\[\])?)+)(?:: [^`]*)?`")

# What begins as a key and is another thing: an attribute of spans.
OTHERS = {"mcp.method.name"}


def slug(heading):
    """A heading's anchor, as Markdown renderers make it."""
    text = re.sub(r"[`*]", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return {slug(line.lstrip("#")) for line in lines if re.match(r"#+ ", line)}


def links(page, text):
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        path = (page.parent / path).resolve() if path else page
        if not path.exists():
            yield f"{page.name}: {target} is not there"
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            yield f"{page.name}: {target} is no heading"


def tests(page, text):
    for path, name in re.findall(r"`([\w/.-]+\.rs)::(\w+)`", text):
        file = ROOT / path
        source = file.read_text(encoding="utf-8") if file.exists() else ""
        # Also those of property tests and those that a contract is made of, which have no attribute of their own.
        if not re.search(rf"\bfn {name}\b", source):
            yield f"{page.name}: no test {path}::{name}"


def shapes(node):
    """What a value may be, by the schema: itself, what it refers to, and each of its alternatives."""
    while "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
    yield node
    for alternative in node.get("anyOf", []) + node.get("oneOf", []):
        yield from shapes(alternative)


def below(node, name):
    """What is at `name` in a mapping, or in each of a list of them; a mapping with names of one's own has every name."""
    for shape in shapes(node):
        if name in shape.get("properties", {}):
            yield shape["properties"][name]
        elif isinstance(shape.get("additionalProperties"), dict):
            yield shape["additionalProperties"]
        if "items" in shape:
            yield from below(shape["items"], name)


def keys(text):
    """What begins as a key of the configuration does; anything else may be of something else."""
    return [key for key in KEY.findall(text) if key not in OTHERS and key.partition(".")[0].removesuffix("[]") in SCHEMA["properties"]]


def unknown_keys(page, text):
    for key in keys(text):
        nodes = [SCHEMA]
        for name in key.replace("[]", "").split("."):
            nodes = [found for node in nodes for found in below(node, name)]
        if not nodes:
            yield f"{page.name}: no key {key} in the configuration"


def main():
    problems, named, told = [], 0, 0
    for page in ALL:
        text = page.read_text(encoding="utf-8")
        problems += unknown_keys(page, text)
        told += len(keys(text))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        problems += links(page, text)
        problems += tests(page, text)
        named += len(re.findall(r"\.rs::\w+`", text))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(PAGES)} pages, {named} tests named; {told} keys on {len(ALL)} pages")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
