//! The schema: what policies may speak of.

use std::sync::{Arc, LazyLock};

use cedar_policy::Schema;
use cedar_policy::ffi::DetailedError;

use super::policies::{Problem, Source, problem};
use super::split::Lines;

/// The text of the built-in schema.
pub const BUILT_IN: &str = include_str!("../../../policies/schema.cedarschema");

/// The built-in schema.
pub(super) fn built_in() -> Arc<Schema> {
    static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
        let schema = Schema::from_cedarschema_str(BUILT_IN);
        #[expect(clippy::expect_used, reason = "a constant, and every test of policies reads it")]
        let (schema, _) = schema.expect("the built-in schema is a schema");
        Arc::new(schema)
    });
    SCHEMA.clone()
}

/// A schema in place of the built-in one. It must have all that the gateway says of a request.
pub(super) fn custom(source: Source<'_>) -> Result<Arc<Schema>, Vec<Problem>> {
    let lines = Lines::new(source.text);
    let schema = match Schema::from_cedarschema_str(source.text) {
        Ok((schema, _)) => schema,
        Err(error) => {
            let error = DetailedError::from(&error);
            let at = error.source_locations.first().map_or(0, |label| label.loc.start);
            return Err(vec![problem(source.file, &lines, at, &error.message, error.help)]);
        }
    };
    Ok(Arc::new(schema))
}
