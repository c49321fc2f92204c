#!/usr/bin/env python3
"""Makes configurations of the gateway for `sluicegate-compare`, one for each kind of credential, and
prints the options that name them.

    loadtest/compare/variants/prepare.py DIRECTORY

The directory then has a store with virtual keys, an issuer's key set, and these configurations:

    anonymous      nobody shows a credential, so there is nothing to look up: what the others are compared with
    master         the master key
    key            a virtual key, a store and so a ledger
    token          a token of an issuer
    authorized     the same token, judged by the policies of `policies/`
    policies       the virtual key, judged by them
    limits         the same with five limits on the key and its team
    translated     the master key and a provider of Anthropic's dialect, so that each call is translated

Needs openssl, and the gateway in target/release, or where SLUICEGATE_PROGRAM says.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("SLUICEGATE_PROGRAM", ROOT / "target/release/sluicegate")
MASTER = "sk-compare-master-0123456789abcdef"
ISSUER = "https://login.example.com/"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*args: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *args], input=stdin, check=True, capture_output=True).stdout


def token(directory: pathlib.Path) -> str:
    """A token of about 700 bytes, and the key set that verifies it."""
    key = str(directory / "issuer.pem")
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    modulus = openssl("rsa", "-in", key, "-noout", "-modulus").decode().strip().split("=")[1]
    jwk = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one", "e": "AQAB"}
    jwk["n"] = b64(bytes.fromhex(modulus))
    (directory / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "sluicegate", "sub": "ann", "iat": now, "exp": now + 86400, "roles": ["member"]}
    parts = [{"alg": "RS256", "typ": "JWT", "kid": "one"}, claims]
    signed = ".".join(b64(json.dumps(part).encode()) for part in parts)
    signature = openssl("dgst", "-sha256", "-sign", key, stdin=signed.encode())
    return f"{signed}.{b64(signature)}"


TEAM = {"team_id": "compare", "max_budget": 1e6, "tpm_limit": 10**12}
LIMITED = {
    "team_id": "compare",
    "max_budget": 1e6,
    "rpm_limit": 10**9,
    "max_parallel_requests": 10**6,
}


def ask(admin: str, path: str, fields: dict) -> dict:
    request = urllib.request.Request(
        f"http://{admin}{path}",
        data=json.dumps(fields).encode(),
        headers={"authorization": f"Bearer {MASTER}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def virtual_keys(config: pathlib.Path) -> tuple[str, str]:
    """Runs the gateway for as long as it takes to make two keys: one without limits, one with five."""
    gateway = subprocess.Popen(
        [PROGRAM, "serve", "--config", config],
        env={
            **os.environ,
            "COMPARE_LISTEN": "127.0.0.1:0",
            "COMPARE_UPSTREAM": "127.0.0.1:9",
            "COMPARE_THREADS": "1",
            "COMPARE_DIRECTORY": str(config.parent),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        for line in gateway.stderr:
            said = json.loads(line)
            if said.get("message") == "listening":
                free = ask(said["admin"], "/key/generate", {"key_alias": "compare"})
                ask(said["admin"], "/team/new", TEAM)
                limited = ask(said["admin"], "/key/generate", LIMITED)
                return free["key"], limited["key"]
        raise SystemExit("the gateway did not start")
    finally:
        gateway.terminate()
        gateway.wait()


def main() -> None:
    directory = pathlib.Path(sys.argv[1]).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    base = (pathlib.Path(__file__).parent / "master-key.yaml").read_text()
    store = "store:\n  sqlite:\n    path: ${COMPARE_DIRECTORY}/data/keys.db\n"
    issuer = (
        f"auth:\n  jwt:\n    - issuer: {ISSUER}\n      audience: [sluicegate]\n"
        "      jwks_file: ${COMPARE_DIRECTORY}/jwks.json\n      algorithms: [RS256]\n"
        "      claims: { roles: roles }\n"
    )
    policies = f"policies: {{ directory: {ROOT}/policies }}\n"
    priced = base.rstrip() + '\n    price: { input: "0.15", output: "0.60" }\n'
    files = {
        "anonymous": base + "auth: { anonymous: true }\n",
        "master": base,
        "key": base + store,
        "token": base + issuer,
        "authorized": base + issuer + policies,
        "policies": base + store + policies,
        "limits": priced + store + policies,
        "translated": base.replace("dialect: openai", "dialect: anthropic").replace(
            "${COMPARE_UPSTREAM}/v1", "${COMPARE_UPSTREAM}"
        ),
    }
    for name, text in files.items():
        (directory / f"{name}.yaml").write_text(text)
    key, limited = virtual_keys(directory / "key.yaml")
    signed = token(directory)
    credentials = {
        "anonymous": None,
        "master": MASTER,
        "key": key,
        "token": signed,
        "authorized": signed,
        "policies": key,
        "limits": limited,
        "translated": MASTER,
    }
    print(
        " ".join(
            f"--variant {name}={directory}/{name}.yaml" + (f",{credential}" if credential else "")
            for name, credential in credentials.items()
        )
    )


main()
