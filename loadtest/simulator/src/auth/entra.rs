//! Microsoft Entra's token endpoint: an application's secret, for an access token.
//!
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>;
//! errors: <https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes>.

use serde_json::json;

use super::{EntraApp, Issued, TokenAnswer, field};

const SCOPE: &str = "https://cognitiveservices.azure.com/.default";

/// Answers `POST /{tenant}/oauth2/v2.0/token`.
pub(crate) fn token(
    app: Option<&EntraApp>,
    issued: &Issued,
    tenant: &str,
    form: &[u8],
) -> TokenAnswer {
    let refuse = |status: u16, error: &str, code: u32, why: &str| TokenAnswer {
        status,
        body: json!({
            "error": error,
            "error_description": format!("AADSTS{code}: {why}"),
            "error_codes": [code],
        })
        .to_string(),
        issued: false,
    };
    let Some(app) = app.filter(|app| app.tenant == tenant) else {
        return refuse(400, "invalid_request", 90_002, "Tenant not found.");
    };
    match field(form, "grant_type").as_deref() {
        Some("client_credentials") => {}
        Some(_) => {
            return refuse(400, "unsupported_grant_type", 70_003, "The grant is not supported.");
        }
        None => return refuse(400, "invalid_request", 900_144, "'grant_type' is missing."),
    }
    if field(form, "client_id").as_deref() != Some(&*app.client_id) {
        return refuse(400, "unauthorized_client", 700_016, "Application was not found.");
    }
    match field(form, "client_secret") {
        Some(secret) if secret == app.client_secret => {}
        Some(_) => {
            return refuse(401, "invalid_client", 7_000_215, "Invalid client secret provided.");
        }
        None => return refuse(401, "invalid_client", 7_000_216, "'client_secret' is required."),
    }
    if field(form, "scope").as_deref() != Some(SCOPE) {
        return refuse(400, "invalid_scope", 70_011, "The provided value for scope is not valid.");
    }
    let token = issued.issue("eyJ.sim-", app.token_lifetime);
    let seconds = app.token_lifetime.as_secs();
    TokenAnswer {
        status: 200,
        body: json!({
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": token,
        })
        .to_string(),
        issued: true,
    }
}
