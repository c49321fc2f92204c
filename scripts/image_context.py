#!/usr/bin/env python3
"""Says what the image's build reads and .dockerignore keeps from it, without an engine to build it."""

import pathlib
import re
import sys
import tomllib

root = pathlib.Path(__file__).resolve().parent.parent
ignored = (root / ".dockerignore").read_text().splitlines()
# This project's file ignores everything and then names what it wants, so that is all that is understood here.
lines = [line for line in ignored if line and not line.startswith("#")]
assert lines[0] == "*" and all(line.startswith("!") for line in lines[1:]), ".dockerignore: only `*` and then `!NAME`"
sent = [root / line[1:] for line in lines[1:]]


def is_sent(path):
    return any(path == one or one in path.parents for one in sent)


def read_by_cargo():
    workspace = tomllib.loads((root / "Cargo.toml").read_text())
    yield root / "Cargo.toml"
    yield root / "Cargo.lock"
    members = [root / member for member in workspace["workspace"]["members"]]
    for member in [root, *members]:
        manifest = tomllib.loads((member / "Cargo.toml").read_text())
        yield member / "Cargo.toml"
        for kind in ("bin", "test", "bench", "example"):
            for target in manifest.get(kind, []):
                if "path" in target:
                    yield member / target["path"]
    for package in [root / "src", *(member / "src" for member in members)]:
        for source in package.rglob("*.rs"):
            # Tests are not built for the image.
            text = source.read_text().split("#[cfg(test)]\nmod", 1)[0]
            if source.name == "tests.rs" or "tests" in source.relative_to(package).parts:
                continue
            yield source
            for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text):
                yield (source.parent / name).resolve()


missing = sorted({str(path.relative_to(root)) for path in read_by_cargo() if not is_sent(path)})
for path in missing:
    print(f".dockerignore keeps {path} from the build", file=sys.stderr)
absent = sorted({line for line in lines[1:] if not (root / line[1:]).exists()})
for line in absent:
    print(f".dockerignore names {line[1:]}, which is not there", file=sys.stderr)
sys.exit(bool(missing or absent))
