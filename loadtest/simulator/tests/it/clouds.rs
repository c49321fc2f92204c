//! The clouds' APIs and their credentials.

use std::time::Duration;

use serde_json::json;
use sluicegate_chat::{
    Dialect, Expect,
    aws::sigv4::{Credentials, Scope, Unsigned, sign},
    decode_reply,
};
use sluicegate_simulator::{AwsAccount, CloudOptions, EntraApp, Options, Simulator};

use crate::client::*;

const GEMINI: &str = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
const CONVERSE: &str = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;

async fn clouds(lifetime: Duration) -> Simulator {
    let cloud = CloudOptions {
        aws: Some(AwsAccount {
            access_key_id: "AKID".to_owned(),
            secret_access_key: "secret".to_owned(),
            region: "eu-central-1".to_owned(),
            ..AwsAccount::default()
        }),
        google: None,
        entra: Some(EntraApp {
            tenant: "tenant".to_owned(),
            client_id: "id".to_owned(),
            client_secret: "secret".to_owned(),
            token_lifetime: lifetime,
        }),
    };
    Simulator::start(Options { cloud, ..Options::default() }).await.unwrap()
}

fn signed(path: &str, secret: &str, body: &str) -> String {
    let request = Unsigned {
        method: "POST",
        path,
        query: &[],
        headers: &[("host", "sim")],
        body: body.as_bytes(),
    };
    let credentials =
        Credentials { access_key_id: "AKID", secret_access_key: secret, session_token: None };
    let scope = Scope { region: "eu-central-1", service: "bedrock" };
    let headers = sign(&request, &credentials, scope, jiff::Timestamp::now());
    headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

#[tokio::test]
async fn bedrock_takes_what_the_codec_signs_and_is_read_by_it() {
    let simulator = clouds(Duration::ZERO).await;
    let path = "/model/m%3A0%3Btokens%3D3/converse";
    let answer = post_with(&simulator, path, &signed(path, "secret", CONVERSE), CONVERSE).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let reply = decode_reply(Dialect::Bedrock, &Expect::default(), answer.body.as_bytes()).unwrap();
    assert_eq!(reply.usage.unwrap().output, 3);
    assert_eq!(simulator.ledger().models["m:0"].completion_tokens, 3);
    let wrong = post_with(&simulator, path, &signed(path, "other", CONVERSE), CONVERSE).await;
    assert_eq!(wrong.status, 403);
    assert_eq!(wrong.header("x-amzn-errortype"), Some("InvalidSignatureException"));
}

#[tokio::test]
async fn gemini_answers_and_refuses_unknown_names() {
    let simulator = simulator().await;
    let key = "x-goog-api-key: k\r\n";
    let path = "/v1beta/models/m:generateContent";
    let body = post_with(&simulator, path, key, GEMINI).await;
    let reply = decode_reply(Dialect::Gemini, &Expect::default(), body.body.as_bytes()).unwrap();
    assert_eq!(reply.usage.unwrap().output, 8);
    let stream = "/v1beta/models/m:streamGenerateContent?alt=sse";
    assert_eq!(post_with(&simulator, stream, key, GEMINI).await.data().len(), 9);
    let unknown = GEMINI.replace("\"text\"", "\"texts\"");
    let refused = post_with(&simulator, path, key, &unknown).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["status"]),
        (400, &json!("INVALID_ARGUMENT"))
    );
    assert_eq!(post_with(&simulator, path, "", GEMINI).await.status, 403);
}

#[tokio::test]
async fn azure_takes_issued_tokens_until_they_expire() {
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let ask = "grant_type=client_credentials&client_id=id&client_secret=secret&scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default";
    let path = "/openai/deployments/m/chat/completions?api-version=2024-10-21";
    for (lifetime, status) in [(3600, 200), (0, 401)] {
        let simulator = clouds(Duration::from_secs(lifetime)).await;
        let token = post_with(&simulator, "/tenant/oauth2/v2.0/token", form, ask).await.json();
        let token = token["access_token"].as_str().unwrap();
        let bearer = format!("authorization: Bearer {token}\r\n");
        let answer = post_with(&simulator, path, &bearer, CHAT).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(simulator.stats().tokens_issued, 1);
    }
}
