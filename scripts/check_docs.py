#!/usr/bin/env python3
"""Says which links of the operator's pages lead nowhere, and which tests they name that don't exist."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "docs" / name for name in ("metrics.md", "runbook.md", "threat-model.md", "data-flow.md", "kubernetes.md", "tls.md")]


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


def main():
    problems, named = [], 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        problems += links(page, text)
        problems += tests(page, text)
        named += len(re.findall(r"\.rs::\w+`", text))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(PAGES)} pages, {named} tests named")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
