//! Google's token endpoint: an assertion that a service account signed, for an access token.
//!
//! <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::Deserialize;
use serde_json::json;

use super::{GoogleAccount, Issued, TokenAnswer, field};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const ENDPOINT: &str = "https://oauth2.googleapis.com/token";
const LONGEST: u64 = 3_600;
/// How far the other clock may be ahead of ours.
const SKEW: u64 = 300;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    scope: String,
    aud: String,
    iat: u64,
    exp: u64,
}

/// Answers `POST /token`; `host` is where the client believes that is.
pub(crate) fn token(
    account: Option<&GoogleAccount>,
    issued: &Issued,
    host: &str,
    form: &[u8],
    now: u64,
) -> TokenAnswer {
    let refuse = |error: &str, why: &str| TokenAnswer {
        status: if error == "invalid_client" { 401 } else { 400 },
        body: json!({"error": error, "error_description": why}).to_string(),
        issued: false,
    };
    if field(form, "grant_type").as_deref() != Some(GRANT) {
        return refuse("unsupported_grant_type", "Invalid grant_type.");
    }
    let Some(assertion) = field(form, "assertion") else {
        return refuse("invalid_request", "Missing required parameter: assertion");
    };
    let Some(account) = account else {
        return refuse("invalid_grant", "Invalid grant: account not found");
    };
    let Some((signed, claims)) = read(&assertion) else {
        return refuse("invalid_request", "Bad Request");
    };
    if claims.iss != account.client_email {
        return refuse("invalid_grant", "Invalid grant: account not found");
    }
    if !verifies(&account.public_key_pem, signed, &assertion) {
        return refuse("invalid_grant", "Invalid JWT Signature.");
    }
    let here = |scheme: &str| format!("{scheme}://{host}/token") == claims.aud;
    if claims.aud != ENDPOINT && !here("http") && !here("https") {
        return refuse("invalid_grant", "Invalid JWT: Failed audience check.");
    }
    let in_time = claims.iat <= now + SKEW && now < claims.exp && claims.iat < claims.exp;
    if !in_time || claims.exp - claims.iat > LONGEST {
        return refuse(
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable \
             timeframe. Check your iat and exp values in the JWT claim.",
        );
    }
    if !claims.scope.split(' ').any(|scope| scope == SCOPE) {
        return refuse("invalid_scope", "Invalid OAuth scope or ID token audience provided.");
    }
    let token = issued.issue("ya29.sim-", account.token_lifetime);
    let seconds = account.token_lifetime.as_secs();
    TokenAnswer {
        status: 200,
        body: json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"})
            .to_string(),
        issued: true,
    }
}

/// The part that is signed, and the claims.
fn read(assertion: &str) -> Option<(&str, Claims)> {
    let (signed, _) = assertion.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    (header.alg == "RS256").then_some((signed, claims))
}

fn verifies(pem: &str, signed: &str, assertion: &str) -> bool {
    let body: String =
        pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let signature = assertion.rsplit_once('.').map(|(_, signature)| signature);
    let signature = signature.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    match (STANDARD.decode(body), signature) {
        (Ok(key), Some(signature)) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
            .verify(signed.as_bytes(), &signature)
            .is_ok(),
        _ => false,
    }
}
