//! Attacks on tokens that are known to have worked elsewhere, each refused here.
//!
//! A row names the section of RFC 8725 ("JSON Web Token Best Current Practices") or the
//! vulnerability that made the attack known. Tokens are signed with the issuer's own key wherever
//! the attacker could not have had it: so it is the check in question that refuses, not the
//! signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::testing::*;
use super::*;

struct Row {
    attack: &'static str,
    token: String,
    expected: JwtError,
}

#[test]
fn known_attacks_are_refused() {
    let rows =
        [unsigned(), confused(), keys_of_the_attackers(), spellings(), extensions(), claims_of()];
    for Row { attack, token, expected } in rows.into_iter().flatten() {
        assert_eq!(verify(&token), Err(expected.clone()), "{attack}");
        let denial = crate::Denial::from(expected);
        let payload = token.split('.').nth(1).unwrap_or_default();
        assert!(payload.len() < 9 || !denial.message().contains(payload), "{attack} echoes");
    }
}

fn row(attack: &'static str, token: impl Into<String>, expected: JwtError) -> Row {
    Row { attack, token: token.into(), expected }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

const WRONG_SIGNATURE: JwtError = JwtError::Signature { issuer: 0, named: true };

/// RFC 8725 section 2.1: a token without a signature.
fn unsigned() -> Vec<Row> {
    let payload = encode(claims().to_string());
    let none = |alg: &str, signature: &str| {
        format!("{}.{payload}.{signature}", encode(json!({"alg": alg}).to_string()))
    };
    let valid = P256.with_claims(&json!({}));
    let (message, _) = valid.rsplit_once('.').expect("three parts");
    vec![
        row("2.1, CVE-2022-23540: alg none", none("none", ""), JwtError::Unsigned),
        row("2.1: alg none with a signature", none("none", "c2ln"), JwtError::Unsigned),
        row("2.1: alg None", none("None", ""), JwtError::Unsigned),
        row("2.1: alg nOnE", none("nOnE", ""), JwtError::Unsigned),
        row("2.1: no alg", P256.with_header(&json!({"alg": null})), JwtError::HeaderMember("alg")),
        row("2.1: empty alg", none("", "c2ln"), JwtError::Algorithm),
        row(
            "2.1: alg is a list",
            P256.with_header(&json!({"alg": ["ES256", "none"]})),
            JwtError::HeaderMember("alg"),
        ),
        row("2.1, CVE-2020-28042: signature stripped", format!("{message}."), JwtError::Unsigned),
        row("two parts", message, JwtError::NotThreeParts),
        // An ECDSA signature of two zeros, which some implementations took for valid.
        row(
            "CVE-2022-21449: psychic signature",
            format!("{message}.{}", encode([0_u8; 64])),
            WRONG_SIGNATURE,
        ),
        row("an empty-ish signature", format!("{message}.AA"), WRONG_SIGNATURE),
        row(
            "zero padded signature",
            format!(
                "{message}.{}",
                encode([&[0_u8][..], &P256.sign(Algorithm::ES256, message.as_bytes())].concat())
            ),
            WRONG_SIGNATURE,
        ),
    ]
}

/// RFC 8725 sections 2.1 and 3.1: a signature under another algorithm than the key's.
fn confused() -> Vec<Row> {
    let message = format!(
        "{}.{}",
        encode(json!({"alg": "HS256", "kid": "rsa"}).to_string()),
        encode(claims().to_string())
    );
    let public = RSA.jwk()["n"].as_str().expect("a modulus").to_owned();
    let mut mac = Hmac::<Sha256>::new_from_slice(public.as_bytes()).expect("any length");
    mac.update(message.as_bytes());
    let forged = format!("{message}.{}", encode(mac.finalize().into_bytes()));
    vec![
        row(
            "2.1, CVE-2015-9235, CVE-2016-10555: RSA key as HMAC secret",
            forged,
            JwtError::Algorithm,
        ),
        row("es256", P256.with_header(&json!({"alg": "es256"})), JwtError::Algorithm),
        row("3.1: RSA as ECDSA", P256.with_header(&json!({"kid": "rsa"})), JwtError::KeyAlgorithm),
        row("3.1: ECDSA as EdDSA", ED.with_header(&json!({"kid": "p256"})), JwtError::KeyAlgorithm),
        row(
            "3.1: P-256 as P-384",
            P384.with_header(&json!({"kid": "p256"})),
            JwtError::KeyAlgorithm,
        ),
        row("3.1: PKCS #1 as PSS", RSA.with_header(&json!({"alg": "PS256"})), WRONG_SIGNATURE),
        row("3.1: another hash", RSA.with_header(&json!({"alg": "RS512"})), WRONG_SIGNATURE),
    ]
}

/// RFC 8725 sections 2.9 and 3.10: a key that the attacker has the token point to.
fn keys_of_the_attackers() -> Vec<Row> {
    let theirs = Signer::new("theirs", Algorithm::ES256);
    let unknown = |kid: &str| JwtError::UnknownKey { issuer: 0, kid: Some(kid.to_owned()) };
    let with = |header: Value| theirs.with_header(&header);
    let mut rows = vec![
        row("CVE-2018-0114: jwk", with(json!({"jwk": theirs.jwk()})), unknown("theirs")),
        row(
            "CVE-2018-0114: jwk under a known name",
            with(json!({"jwk": theirs.jwk(), "kid": "p256"})),
            WRONG_SIGNATURE,
        ),
        row(
            "CVE-2018-0114: jwk without a name",
            with(json!({"jwk": theirs.jwk(), "kid": null})),
            JwtError::Signature { issuer: 0, named: false },
        ),
        row("3.10: jku", with(json!({"jku": "https://evil.test/jwks"})), unknown("theirs")),
        row("3.10: x5u", with(json!({"x5u": "https://evil.test/c.pem"})), unknown("theirs")),
        row("3.10: x5c", with(json!({"x5c": ["MIIB"]})), unknown("theirs")),
        row("kid is a list", with(json!({"kid": ["p256"]})), JwtError::HeaderMember("kid")),
        row("kid with a line end", with(json!({"kid": "a\nb"})), JwtError::HeaderMember("kid")),
        row("kid of 1 KiB", with(json!({"kid": "k".repeat(1024)})), JwtError::HeaderMember("kid")),
    ];
    // Where a name was looked up in files or a database: here it is compared, and no more.
    for kid in ["../../../../dev/null", "' UNION SELECT 'key", "p256\\u0000", "P256", "p256 ", ""] {
        rows.push(row("2.9: kid injection", with(json!({"kid": kid})), unknown(kid)));
    }
    rows
}

/// RFC 8725 sections 2.6 and 3.7, RFC 7519 section 4: bytes that two parsers read in two ways.
fn spellings() -> Vec<Row> {
    let header = P256.header().to_string();
    let payload = claims().to_string();
    let repeated = |text: &str, member: &str| format!("{{{member},{}", &text[1..]);
    let raw = |header: &str, payload: &str| P256.token_of(header.as_bytes(), payload.as_bytes());
    let json = |part, error| JwtError::Json { part, error };
    let valid = P256.with_claims(&json!({}));
    let (head, signature) = valid.rsplit_once('.').expect("three parts");
    let ambiguous = JsonError::Ambiguous;
    let utf16: Vec<u8> = payload.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        row(
            "RFC 7519 section 4: repeated claim",
            raw(&header, &repeated(&payload, "\"sub\":\"root\"")),
            json(Part::Payload, ambiguous),
        ),
        row(
            "RFC 7519 section 4: repeated claim in escapes",
            raw(&header, &repeated(&payload, "\"s\\u0075b\":\"root\"")),
            json(Part::Payload, ambiguous),
        ),
        row(
            "RFC 7515 section 4: repeated header member",
            raw(&repeated(&header, "\"alg\":\"none\""), &payload),
            json(Part::Header, ambiguous),
        ),
        row(
            "2.6: payload in UTF-16",
            P256.token_of(header.as_bytes(), &utf16),
            json(Part::Payload, JsonError::Syntax),
        ),
        row(
            "3.7: byte order mark",
            raw(&format!("\u{feff}{header}"), &payload),
            json(Part::Header, JsonError::Syntax),
        ),
        row(
            "two documents",
            raw(&header, &format!("{payload}{payload}")),
            json(Part::Payload, JsonError::Syntax),
        ),
        row("payload is a list", raw(&header, "[]"), json(Part::Payload, JsonError::NotAnObject)),
        row("padding", format!("{valid}="), JwtError::Encoding(Part::Signature)),
        row("standard base64", format!("{head}.ab+/"), JwtError::Encoding(Part::Signature)),
        row("a line end", format!("{valid}\n"), JwtError::Encoding(Part::Signature)),
        row("a space before", format!(" {valid}"), JwtError::Encoding(Part::Header)),
        // 64 bytes leave four bits of the last character without meaning.
        row(
            "bits beyond the last byte",
            format!("{}{}", &valid[..valid.len() - 1], after(signature.as_bytes()[85])),
            JwtError::Encoding(Part::Signature),
        ),
        row(
            "RFC 7515 section 7.2: JSON serialization",
            json!({"protected": "e30", "payload": "e30", "signature": ""}).to_string(),
            JwtError::NotThreeParts,
        ),
        row("RFC 7516: five parts", format!("{valid}.e30.e30"), JwtError::Encrypted),
        row("four parts", format!("{valid}.e30"), JwtError::NotThreeParts),
        row("a thousand dots", ".".repeat(1000), JwtError::NotThreeParts),
        row("huge", P256.with_claims(&json!({"x": "x".repeat(13_000)})), JwtError::TooLong),
        row(
            "nested without end",
            raw(&header, &format!("{{\"a\":{}", "[".repeat(5000))),
            json(Part::Payload, ambiguous),
        ),
    ]
}

/// The next character of base64url, with the same meaning to a lenient decoder.
fn after(last: u8) -> char {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let index = ALPHABET.iter().position(|byte| *byte == last).expect("base64url");
    char::from(ALPHABET[index + 1])
}

/// RFC 8725 sections 2.8, 3.3 and 3.11: what changes the meaning of the rest.
fn extensions() -> Vec<Row> {
    let with = |header: Value| P256.with_header(&header);
    vec![
        row(
            "CVE-2025-59420: crit",
            with(json!({"crit": ["x"], "x": 1})),
            JwtError::Extension("crit"),
        ),
        row("empty crit", with(json!({"crit": []})), JwtError::Extension("crit")),
        row("RFC 7797: b64", with(json!({"b64": false})), JwtError::Extension("b64")),
        row("3.11: logout token", with(json!({"typ": "logout+jwt"})), JwtError::Type),
        row("3.11: proof of possession", with(json!({"typ": "dpop+jwt"})), JwtError::Type),
        row("3.11: event", with(json!({"typ": "secevent+jwt"})), JwtError::Type),
        row("3.11: typ is a list", with(json!({"typ": ["JWT"]})), JwtError::HeaderMember("typ")),
        row("3.3: nested", with(json!({"cty": "JWT"})), JwtError::Nested),
        row(
            "3.6, as in CVE-2024-33664: compressed",
            P256.token_of(
                changed(P256.header(), &json!({"zip": "DEF"})).to_string().as_bytes(),
                b"\xab\x56\x4a\x2c\x2d\x53\xb2\x52\xca\x28\x29\x29\x28",
            ),
            JwtError::Json { part: Part::Payload, error: JsonError::Syntax },
        ),
    ]
}

/// RFC 8725 sections 2.7, 3.8 and 3.9: true tokens, but not for here or not for now.
fn claims_of() -> Vec<Row> {
    let with = |claims: Value| P256.with_claims(&claims);
    let missing = |name: &str| JwtError::MissingClaim(name.to_owned());
    let sub = |problem| JwtError::Claim { name: "sub".to_owned(), problem };
    vec![
        row(
            "3.8: another issuer",
            with(json!({"iss": "https://evil.test/"})),
            JwtError::UnknownIssuer,
        ),
        row(
            "3.8: issuer in other case",
            with(json!({"iss": "https://LOGIN.test/"})),
            JwtError::UnknownIssuer,
        ),
        row(
            "3.8: issuer without its slash",
            with(json!({"iss": "https://login.test"})),
            JwtError::UnknownIssuer,
        ),
        row("3.8: issuer is a list", with(json!({"iss": [ISSUER]})), JwtError::UnknownIssuer),
        row("3.8: no issuer", with(json!({"iss": null})), missing("iss")),
        row("3.9: another audience", with(json!({"aud": "billing"})), JwtError::Audience),
        row("3.9: audience in other case", with(json!({"aud": "Sluicegate"})), JwtError::Audience),
        row(
            "3.9: audience as a beginning",
            with(json!({"aud": "sluicegate.evil.test"})),
            JwtError::Audience,
        ),
        row(
            "3.9: audience within a text",
            with(json!({"aud": "x sluicegate"})),
            JwtError::Audience,
        ),
        row("3.9: no audience", with(json!({"aud": null})), missing("aud")),
        row("3.9: empty list of audiences", with(json!({"aud": []})), JwtError::Audience),
        row("3.9: list in a list", with(json!({"aud": [[AUDIENCE]]})), JwtError::Audience),
        row("3.9: mixed list", with(json!({"aud": [AUDIENCE, 1]})), JwtError::Audience),
        row(
            "3.9: audience as a key",
            with(json!({"aud": {"sluicegate": true}})),
            JwtError::Audience,
        ),
        row("no expiry", with(json!({"exp": null})), missing("exp")),
        row("expired", with(json!({"exp": NOW - 40})), JwtError::Expired { ago_ms: 40_000 }),
        row("expiry is text", with(json!({"exp": "9999999999"})), JwtError::NotATime("exp")),
        row("expiry beyond all time", with(json!({"exp": u64::MAX})), JwtError::NotATime("exp")),
        row("expiry overflows", with(json!({"exp": 1.7e308})), JwtError::NotATime("exp")),
        row("negative expiry", with(json!({"exp": -1})), JwtError::NotATime("exp")),
        row(
            "expiry in milliseconds",
            with(json!({"exp": (NOW + 600) * 1000})),
            JwtError::NotATime("exp"),
        ),
        row("not yet", with(json!({"nbf": NOW + 31})), JwtError::NotYetValid { in_ms: 31_000 }),
        row(
            "issued tomorrow",
            with(json!({"iat": NOW + 86_400})),
            JwtError::IssuedInFuture { in_ms: 86_400_000 },
        ),
        row("nobody", with(json!({"sub": null})), missing("sub")),
        row("empty name", with(json!({"sub": ""})), sub(ClaimProblem::Empty)),
        row("log injection", with(json!({"sub": "a\nb"})), sub(ClaimProblem::Control)),
        row("long name", with(json!({"sub": "x".repeat(257)})), sub(ClaimProblem::TooLong)),
        row("name of another type", with(json!({"sub": {"$ne": ""}})), sub(ClaimProblem::NotText)),
    ]
}

/// Keys that an issuer should not have published, or not for this.
#[test]
fn keys_that_are_weak_or_for_something_else_verify_nothing() {
    let long = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
    let rsa = |changes: Value| changed(RSA.jwk(), &changes);
    let p256 = |changes: Value| changed(P256.jwk(), &changes);
    let even = URL_SAFE_NO_PAD.encode([vec![0xff; 255], vec![0xfe]].concat());
    let zero = URL_SAFE_NO_PAD.encode([vec![0; 1], vec![0xff; 256]].concat());
    let x = P256.jwk()["x"].as_str().expect("a coordinate").to_owned();
    for (what, jwk, reason) in [
        ("3.5: RSA of 1024 bits", rsa(json!({"n": long(128)})), SkipReason::Size),
        ("RSA of 16384 bits", rsa(json!({"n": long(2048)})), SkipReason::Size),
        ("even modulus", rsa(json!({"n": even})), SkipReason::Malformed),
        ("modulus with a zero before", rsa(json!({"n": zero})), SkipReason::Malformed),
        ("empty modulus", rsa(json!({"n": ""})), SkipReason::Malformed),
        ("exponent 1", rsa(json!({"e": "AQ"})), SkipReason::Malformed),
        ("even exponent", rsa(json!({"e": "Ag"})), SkipReason::Malformed),
        ("huge exponent", rsa(json!({"e": long(256)})), SkipReason::Malformed),
        ("no exponent", rsa(json!({"e": null})), SkipReason::Malformed),
        (
            "2.1: shared secret",
            json!({"kty": "oct", "kid": "rsa", "k": "c2VjcmV0"}),
            SkipReason::Symmetric,
        ),
        ("private half", rsa(json!({"d": "AQAB"})), SkipReason::Private),
        ("RSA key for HMAC", rsa(json!({"alg": "HS256"})), SkipReason::Algorithm),
        ("RSA key for ECDSA", rsa(json!({"alg": "ES256"})), SkipReason::Algorithm),
        ("alg is a list", rsa(json!({"alg": ["RS256"]})), SkipReason::Malformed),
        ("for encryption", rsa(json!({"use": "enc"})), SkipReason::Use),
        ("for signing only", rsa(json!({"key_ops": ["sign"]})), SkipReason::Operations),
        ("for no operation", rsa(json!({"key_ops": "verify"})), SkipReason::Operations),
        ("another type", rsa(json!({"kty": "rsa"})), SkipReason::Type),
        ("no type", rsa(json!({"kty": null})), SkipReason::Malformed),
        ("name of another type", rsa(json!({"kid": 7})), SkipReason::Malformed),
        ("another curve", p256(json!({"crv": "secp256k1"})), SkipReason::Curve),
        ("P-256 said to be P-384", p256(json!({"crv": "P-384"})), SkipReason::Malformed),
        ("half a point", p256(json!({"y": null})), SkipReason::Malformed),
        ("short coordinate", p256(json!({"x": "AQAB"})), SkipReason::Malformed),
        ("Ed448", changed(ED.jwk(), &json!({"crv": "Ed448"})), SkipReason::Curve),
        ("short Ed25519", changed(ED.jwk(), &json!({"x": "AQAB"})), SkipReason::Malformed),
    ] {
        let keys = key_set(std::slice::from_ref(&jwk));
        assert_eq!(keys.skipped().first().map(|key| key.reason), Some(reason), "{what}");
        assert!(keys.is_empty(), "{what}");
        let token = RSA.with_claims(&json!({}));
        let refused = verify_with(issuer(), &keys, token.as_bytes());
        let kid = Some("rsa".to_owned());
        assert_eq!(refused, Err(JwtError::UnknownKey { issuer: 0, kid }), "{what}");
    }
    // 3.4: a point that is not on the curve is a key that verifies nothing.
    let keys = key_set(&[p256(json!({"y": x}))]);
    let token = P256.with_claims(&json!({}));
    assert_eq!(verify_with(issuer(), &keys, token.as_bytes()), Err(WRONG_SIGNATURE));
}

#[test]
fn key_sets_out_of_bounds_are_refused_whole() {
    let all = Algorithm::NAMES.map(|(_, algorithm)| algorithm);
    let parse = |json: &str| KeySet::parse(json.as_bytes(), &all).map(|set| set.len());
    let many = |count: usize| json!({"keys": vec![ED.jwk(); count]}).to_string();
    let named = |kid: usize| changed(ED.jwk(), &json!({"kid": kid.to_string()}));
    let different =
        |count: usize| json!({"keys": (0..count).map(named).collect::<Vec<_>>()}).to_string();
    assert_eq!(parse(&many(4)), Ok(4));
    assert_eq!(parse(&many(5)), Err(KeySetError::Ambiguous("ed".to_owned())));
    assert_eq!(parse(&different(100)), Ok(100));
    assert_eq!(parse(&different(101)), Err(KeySetError::TooMany));
    assert_eq!(parse(r#"{"keys":[]}"#), Ok(0));
    assert_eq!(parse(r#"{"keys":{}}"#), Err(KeySetError::NoKeys));
    assert_eq!(parse(r#"{"keys":[1]}"#), Err(KeySetError::NoKeys));
    assert_eq!(parse("{}"), Err(KeySetError::NoKeys));
    assert_eq!(parse("[]"), Err(KeySetError::Json(JsonError::NotAnObject)));
    let repeated = r#"{"keys":[{"kty":"oct","kty":"RSA"}]}"#;
    assert_eq!(parse(repeated), Err(KeySetError::Json(JsonError::Ambiguous)));
    let padded = format!("{}{}", many(1), " ".repeat(MAX_BYTES));
    assert_eq!(parse(&padded), Err(KeySetError::TooLarge));
}

#[test]
fn a_key_is_only_for_the_algorithms_that_it_and_the_issuer_name() {
    let parse = |jwk: Value, allowed: &[Algorithm]| {
        let json = json!({"keys": [jwk]}).to_string();
        Arc::new(KeySet::parse(json.as_bytes(), allowed).expect("a key set"))
    };
    let token = RSA.with_claims(&json!({}));
    let only_pss = parse(changed(RSA.jwk(), &json!({"alg": "PS256"})), &[Algorithm::PS256]);
    let refused = verify_with(issuer(), &only_pss, token.as_bytes());
    assert_eq!(refused, Err(JwtError::KeyAlgorithm));
    let excluded = parse(RSA.jwk(), &[Algorithm::ES256]);
    assert_eq!(excluded.skipped()[0].reason, SkipReason::Algorithm);
    // The issuer's list is looked at first, whatever its key set has been read with.
    let narrow = Issuer { algorithms: vec![Algorithm::ES256], ..issuer() };
    assert_eq!(verify_with(narrow, &all_keys(), token.as_bytes()), Err(JwtError::Algorithm));
}
