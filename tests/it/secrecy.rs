//! What is said in confidence is in nothing that the gateway writes.

use std::path::Path;

use serde_json::json;

use crate::support::{Config, Gateway, MASTER_KEY, chat, provider};

/// Every file below `directory`, its name first.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn no_prompt_no_answer_and_no_credential_is_written_anywhere() {
    const PROMPT: &str = "the-moon-is-made-of-green-cheese";
    let provider = provider().await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::for_provider(provider.address());
    config.head = format!(
        "admin: {{ master_key: \"env:MASTER_KEY\" }}\n\
         store: {{ sqlite: {{ path: \"{0}/data/store.db\" }} }}\n\
         ledger: {{ directory: \"{0}/ledger\" }}\n\
         audit: {{ directory: \"{0}/audit\" }}\n",
        directory.path().display()
    );
    let gateway = Gateway::start(&config);
    let key = gateway.key(&json!({"models": ["sim-1"]})).await;
    let mut body = chat(false, "tokens=12");
    body["messages"][0]["content"] = json!(PROMPT);
    let answer = gateway.chat(&key, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(said.len() > 20, "{said}");
    // Refused by the key's list, for want of a key, and broken midway: each is written down elsewhere.
    body["model"] = json!("alias");
    assert_eq!(gateway.chat(&key, &body).await.status, 403);
    let wrong = format!("sk-{PROMPT}");
    assert_eq!(gateway.chat(&wrong, &body).await.status, 401);
    let mut broken = chat(true, "fault=truncate,after=2,tokens=12");
    broken["messages"][0]["content"] = json!(PROMPT);
    assert_eq!(gateway.chat(&key, &broken).await.status, 200);

    let secrets = [PROMPT, &said, &key, MASTER_KEY, "sk-provider-secret"];
    let mut written = files(directory.path());
    let log = gateway.stop().await;
    assert_eq!(log.len(), 4);
    written.extend(files(directory.path()));
    written.extend(log.iter().map(|line| ("access log".to_owned(), line.to_string().into_bytes())));
    assert!(written.iter().any(|(name, _)| name.contains("/audit/")));
    assert!(
        written.iter().any(|(name, bytes)| name.contains("/data/") && contains(bytes, "sim-1"))
    );
    for (name, bytes) in &written {
        for secret in secrets {
            assert!(!contains(bytes, secret), "{secret} is in {name}");
        }
    }
}
