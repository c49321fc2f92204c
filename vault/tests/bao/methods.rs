//! Ways to log in, namespaces, and whom to trust.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use sluicegate_vault::{Auth, Options, Vault, VaultError};

use super::server::free_address;
use super::{Bao, Role, get, options};

#[test]
fn a_service_account_logs_in_with_its_token() {
    let bao = Bao::start();
    bao.write_secret("xai", &json!({ "api_key": "xai-1" }));
    let role = Role::make(&bao, &json!({}));
    let key = KeyPair::generate().unwrap();
    bao.put("sys/auth/cluster", &json!({ "type": "jwt" }));
    bao.put(
        "auth/cluster/config",
        &json!({
            "jwt_validation_pubkeys": [key.public_key_pem()], "jwt_supported_algs": ["ES256"],
        }),
    );
    let settings = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"],
        "bound_subject": "system:serviceaccount:sluicegate:sluicegate", "token_policies": ["reader"],
    });
    bao.put("auth/cluster/role/gateway", &settings);
    let write = |subject: &str| {
        let now = jsonwebtoken::get_current_timestamp();
        let claims =
            json!({ "sub": subject, "aud": "vault", "iat": now, "nbf": now, "exp": now + 600 });
        let pem = key.serialize_pem();
        let signing = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        let jwt = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &signing).unwrap();
        std::fs::write(role.file(), jwt).unwrap();
    };
    let auth = Auth::Kubernetes {
        mount: "cluster".to_owned(),
        role: "gateway".to_owned(),
        jwt_file: role.file(),
    };
    write("system:serviceaccount:sluicegate:another");
    let vault = Vault::start(options(&bao.url(), auth.clone())).unwrap();
    let refused = get(&vault, "secret/xai#api_key").unwrap_err();
    assert!(matches!(refused, VaultError::LoginRefused { .. }), "{refused:?}");
    write("system:serviceaccount:sluicegate:sluicegate");
    assert_eq!(vault.refresh(), Ok(()));
    assert_eq!(get(&vault, "secret/xai#api_key").unwrap(), "xai-1");
}

#[test]
fn a_namespace_is_a_world_of_its_own() {
    let mut bao = Bao::start();
    bao.write_secret("xai", &json!({ "api_key": "of-the-root" }));
    bao.put("sys/namespaces/team", &json!({}));
    bao.enter("team");
    bao.put("sys/mounts/secret", &json!({ "type": "kv", "options": { "version": "2" } }));
    bao.write_secret("xai", &json!({ "api_key": "of-the-team" }));
    let role = Role::make(&bao, &json!({}));
    let inside = Options { namespace: Some("team".to_owned()), ..options(&bao.url(), role.auth()) };
    let vault = Vault::start(inside).unwrap();
    assert_eq!(get(&vault, "secret/xai#api_key").unwrap(), "of-the-team");
    let outside = Vault::start(options(&bao.url(), role.auth())).unwrap();
    let refused = get(&outside, "secret/xai#api_key").unwrap_err();
    assert!(matches!(refused, VaultError::LoginRefused { .. }), "{refused:?}");
}

/// An authority, and a certificate of it for this machine.
fn authority() -> (String, String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();
    (certificate.pem(), server.pem(), server_key.serialize_pem())
}

#[test]
fn only_a_server_that_the_authority_vouches_for_sees_a_credential() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let (ours, certificate, key) = authority();
    let (theirs, ..) = authority();
    let address = free_address();
    let bao = Bao::start_with(&format!(
        r#"listener "tcp" {{
          address = "{address}"
          tls_cert_file = "{}"
          tls_key_file = "{}"
        }}"#,
        file("server.pem", &certificate).display(),
        file("server.key", &key).display(),
    ));
    bao.write_secret("xai", &json!({ "api_key": "xai-1" }));
    let role = Role::make(&bao, &json!({}));
    let start = |ca| {
        let tls = options(&format!("https://{address}"), role.auth());
        Vault::start(Options { ca, ..tls })
    };
    let vault = start(Some(file("ours.pem", &ours))).unwrap();
    assert_eq!(get(&vault, "secret/xai#api_key").unwrap(), "xai-1");
    for ca in [Some(file("theirs.pem", &theirs)), None] {
        let vault = match start(ca) {
            Ok(vault) => vault,
            Err(VaultError::NoAuthorities(_)) => continue,
            Err(error) => panic!("{error:?}"),
        };
        let error = get(&vault, "secret/xai#api_key").unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    let nothing = start(Some(file("nothing.pem", "")));
    assert!(matches!(nothing, Err(VaultError::Authorities { .. })));
}
