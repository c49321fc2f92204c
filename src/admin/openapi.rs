//! `/admin/v1/openapi.json`: the OpenAPI document (version 3.1), made from the table of routes.

use std::sync::LazyLock;

use axum::response::IntoResponse;
use http::Method;
use http::header::CONTENT_TYPE;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, InfoBuilder, OpenApi, OpenApiBuilder,
    PathsBuilder, Ref, RefOr, Required, ResponseBuilder, Schema,
};
use utoipa::{PartialSchema, ToSchema};

use super::call::{Answer, Call};
use super::endpoint::{Endpoint, Shape};
use super::error::Dialect;
use super::routes;

/// Answers with the document.
pub async fn show(_: Call) -> Answer {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    Ok(([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response())
}

/// The document as text.
pub fn text() -> String {
    let mut text = document(&routes::endpoints()).to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

fn document(endpoints: &[Endpoint]) -> OpenApi {
    let mut components = ComponentsBuilder::new()
        .security_scheme(
            "key",
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
        )
        .schema("Error", ErrorBody::schema())
        .schema("ErrorDetail", ErrorDetail::schema())
        .schema("LiteLlmError", LiteLlmErrorBody::schema())
        .schema("LiteLlmErrorDetail", LiteLlmErrorDetail::schema());
    let mut paths = PathsBuilder::new();
    for endpoint in endpoints {
        for shape in [&endpoint.doc.request, &endpoint.doc.response].into_iter().flatten() {
            let mut others = Vec::new();
            (shape.others)(&mut others);
            components =
                components.schema((shape.name)(), (shape.schema)()).schemas_from_iter(others);
        }
        if let Some(method) = method(&endpoint.method) {
            paths = paths.path(endpoint.path, PathItem::new(method, operation(endpoint)));
        }
    }
    let info = InfoBuilder::new()
        .title("Sluicegate admin API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Keys and their owners, the configuration, policies and the audit log. The paths outside \
             /admin/v1 speak LiteLLM's dialect.",
        ))
        .build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).build()
}

fn method(method: &Method) -> Option<HttpMethod> {
    Some(match *method {
        Method::GET => HttpMethod::Get,
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::PATCH => HttpMethod::Patch,
        Method::DELETE => HttpMethod::Delete,
        _ => return None,
    })
}

fn operation(endpoint: &Endpoint) -> Operation {
    let doc = &endpoint.doc;
    let id = format!("{}{}", endpoint.method.as_str().to_lowercase(), endpoint.path)
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let mut operation = OperationBuilder::new()
        .operation_id(Some(id))
        .summary(Some(doc.summary))
        .tag(tag(endpoint));
    if endpoint.needs.is_some() {
        operation = operation.security(SecurityRequirement::new("key", [""; 0]));
    }
    for part in endpoint.path.split('/') {
        if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            operation = operation.parameter(
                ParameterBuilder::new()
                    .name(name)
                    .parameter_in(ParameterIn::Path)
                    .required(Required::True)
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
            );
        }
    }
    for (name, description) in doc.query {
        operation = operation.parameter(parameter(name, description, ParameterIn::Query));
    }
    if doc.versioned && endpoint.act.is_some() {
        let meaning = "Only if the record is still in the version of this ETag.";
        operation = operation.parameter(parameter("If-Match", meaning, ParameterIn::Header));
    }
    if endpoint.act == Some("keys.create") && endpoint.dialect == Dialect::Own {
        let meaning = "With it, the same request may be sent again for 24 hours.";
        operation = operation.parameter(parameter("Idempotency-Key", meaning, ParameterIn::Header));
    }
    if let Some(shape) = &doc.request {
        operation = operation.request_body(Some(
            RequestBodyBuilder::new()
                .content("application/json", content(shape))
                .required(Some(Required::True))
                .build(),
        ));
    }
    let success = if doc.success == 0 { 200 } else { doc.success };
    let mut good = ResponseBuilder::new().description(doc.summary);
    if let Some(shape) = &doc.response {
        good = good.content("application/json", content(shape));
    }
    if doc.versioned && success != 204 {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        good = good.header("ETag", HeaderBuilder::new().schema(Some(schema)).build());
    }
    let error = match endpoint.dialect {
        Dialect::Own => "Error",
        Dialect::LiteLlm => "LiteLlmError",
    };
    let bad = ResponseBuilder::new().description("What is wrong.").content(
        "application/json",
        ContentBuilder::new().schema(Some(Ref::from_schema_name(error))).build(),
    );
    operation.response(success.to_string(), good).response("default", bad).build()
}

fn parameter(name: &str, description: &str, place: ParameterIn) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
}

fn content(shape: &Shape) -> utoipa::openapi::Content {
    let reference: RefOr<Schema> = Ref::from_schema_name((shape.name)()).into();
    ContentBuilder::new().schema(Some(reference)).build()
}

/// `keys`, or `LiteLLM: key`.
fn tag(endpoint: &Endpoint) -> String {
    let part = |n| endpoint.path.split('/').nth(n).unwrap_or_default();
    match endpoint.dialect {
        Dialect::Own => part(3).trim_end_matches(".json").to_owned(),
        Dialect::LiteLlm if part(1) == "v1" => format!("LiteLLM: {}", part(2)),
        Dialect::LiteLlm => format!("LiteLLM: {}", part(1)),
    }
}

/// An error.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its fields are only documentation")]
struct ErrorBody {
    error: ErrorDetail,
}

/// What is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its fields are only documentation")]
struct ErrorDetail {
    /// A stable word.
    code: String,
    /// A sentence for a person.
    message: String,
    /// The field at fault.
    field: Option<String>,
    /// What to do.
    hint: Option<String>,
}

/// An error in LiteLLM's shape.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its fields are only documentation")]
struct LiteLlmErrorBody {
    error: LiteLlmErrorDetail,
}

/// What is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its fields are only documentation")]
struct LiteLlmErrorDetail {
    /// A sentence for a person.
    message: String,
    /// A sort of error: `auth_error`, `bad_request_error`, `not_found_error`.
    r#type: String,
    /// The field at fault.
    param: Option<String>,
    /// The status.
    code: String,
}
