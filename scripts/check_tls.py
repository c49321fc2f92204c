#!/usr/bin/env python3
"""Judges the findings of testssl.sh about the gateway: what must have been looked at, and how it must have ended.

    check_tls.py FINDINGS
"""

import json
import sys

NOT = "not offered"
# What is found, by testssl.sh's names: the beginning of it. A name that is missing was not looked at.
EXPECTED = {
    "SSLv2": NOT,
    "SSLv3": NOT,
    "TLS1": NOT,
    "TLS1_1": NOT,
    "TLS1_2": "offered",
    "TLS1_3": "offered",
    "ALPN_HTTP2": "h2",
    "cipherlist_NULL": NOT,
    "cipherlist_aNULL": NOT,
    "cipherlist_EXPORT": NOT,
    "cipherlist_LOW": NOT,
    "cipherlist_3DES_IDEA": NOT,
    "cipherlist_STRONG": "offered",
    "HSTS_time": "365 days",
    "heartbleed": "not vulnerable",
    "CCS": "not vulnerable",
    "CRIME_TLS": "not vulnerable",
    "secure_renego": "supported",
}
# Releases have called these by several names.
ONE_OF = {
    "obsolete suites": ({"cipherlist_AVERAGE", "cipherlist_OBSOLETED"}, NOT),
    "forward secrecy": ({"PFS", "FS"}, "offered"),
}
FINE = {"OK", "INFO", "DEBUG"}
# Every suite is strong, so the client may choose the one that is fast on its hardware.
ACCEPTED = {"cipher_order"}


def problems(findings):
    found = {one["id"]: one["finding"] for one in findings}
    for name, expected in EXPECTED.items():
        if not found.get(name, "").startswith(expected):
            yield f"{name}: {found.get(name, 'not looked at')}; expected: {expected}"
    for what, (names, expected) in ONE_OF.items():
        if not any(found.get(name, "").startswith(expected) for name in names):
            yield f"{what}: {[found.get(name) for name in sorted(names)]}; expected: {expected}"
    for one in findings:
        if one["severity"] not in FINE and one["id"] not in ACCEPTED:
            yield f"{one['id']}: {one['severity']}: {one['finding']}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        findings = json.load(file)
    wrong = list(problems(findings))
    for problem in wrong:
        print(problem, file=sys.stderr)
    print(f"TLS: {len(findings)} findings of testssl.sh, {len(wrong)} problems")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
