//! One route of the admin API: what it needs, what it is called in the audit log, how it is documented,
//! who answers it.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use http::Method;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::actor::Permission;
use super::call::{Answer, Call};
use super::error::Dialect;

/// Answers a call.
pub type Handler = Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// One route.
#[derive(Clone)]
pub struct Endpoint {
    pub method: Method,
    /// With parameters as `{name}`.
    pub path: &'static str,
    /// In whose words it speaks.
    pub dialect: Dialect,
    /// What one needs to be let in at all; `None`: no credential. The handler asks again, for the thing
    /// itself.
    pub needs: Option<Permission>,
    /// Its name in the audit log, if it changes anything.
    pub act: Option<&'static str>,
    /// For the OpenAPI document.
    pub doc: Doc,
    pub handler: Handler,
}

/// What the OpenAPI document says of an endpoint.
#[derive(Clone, Default)]
pub struct Doc {
    pub summary: &'static str,
    /// Names and meanings of the query's parameters.
    pub query: &'static [(&'static str, &'static str)],
    pub request: Option<Shape>,
    pub response: Option<Shape>,
    /// The status of success; 0 stands for 200.
    pub success: u16,
    /// Whether the answer carries an `ETag`, and whether `If-Match` counts.
    pub versioned: bool,
}

/// A named schema with those that it refers to. They are made when somebody asks for the document: all of them
/// take five megabytes.
#[derive(Clone, Copy)]
pub struct Shape {
    pub name: fn() -> Cow<'static, str>,
    pub schema: fn() -> RefOr<Schema>,
    pub others: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Shape {
    fn of<T: ToSchema>() -> Self {
        Self { name: T::name, schema: T::schema, others: T::schemas }
    }
}

/// A route of ours.
pub fn own<F>(
    method: Method,
    path: &'static str,
    needs: Permission,
    summary: &'static str,
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Endpoint
where
    F: Future<Output = Answer> + Send + 'static,
{
    Endpoint {
        method,
        path,
        dialect: Dialect::Own,
        needs: Some(needs),
        act: None,
        doc: Doc { summary, ..Doc::default() },
        handler: Arc::new(move |call| Box::pin(handler(call))),
    }
}

/// A route of LiteLLM's.
pub fn litellm<F>(
    method: Method,
    path: &'static str,
    needs: Permission,
    summary: &'static str,
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Endpoint
where
    F: Future<Output = Answer> + Send + 'static,
{
    Endpoint { dialect: Dialect::LiteLlm, ..own(method, path, needs, summary, handler) }
}

impl Endpoint {
    /// Anybody may, whom the list of networks lets in.
    #[must_use]
    pub fn public(self) -> Self {
        Self { needs: None, ..self }
    }

    /// Changes something; under this name it is written down.
    #[must_use]
    pub fn act(self, name: &'static str) -> Self {
        Self { act: Some(name), ..self }
    }

    /// Takes such a body.
    #[must_use]
    pub fn takes<T: ToSchema>(mut self) -> Self {
        self.doc.request = Some(Shape::of::<T>());
        self
    }

    /// Answers 200 with such a body.
    #[must_use]
    pub fn gives<T: ToSchema>(mut self) -> Self {
        self.doc.response = Some(Shape::of::<T>());
        self
    }

    /// Answers 201 with such a body.
    #[must_use]
    pub fn makes<T: ToSchema>(mut self) -> Self {
        self.doc.success = 201;
        self.gives::<T>()
    }

    /// Answers 204.
    #[must_use]
    pub fn empty(mut self) -> Self {
        self.doc.success = 204;
        self
    }

    /// Takes these parameters in its query.
    #[must_use]
    pub fn query(mut self, parameters: &'static [(&'static str, &'static str)]) -> Self {
        self.doc.query = parameters;
        self
    }

    /// Answers with an `ETag`; honours `If-Match` if it changes anything.
    #[must_use]
    pub fn versioned(mut self) -> Self {
        self.doc.versioned = true;
        self
    }
}
