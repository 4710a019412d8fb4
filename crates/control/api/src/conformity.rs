//! Whether a body is as the document says that it is.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// The schemas of the document, and those of them that were asked for, compiled.
struct Schemas {
    components: Value,
    compiled: Mutex<HashMap<String, Option<Arc<Validator>>>>,
}

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(&crate::openapi_json()).unwrap_or_default();
    Schemas { components: document["components"].clone(), compiled: Mutex::default() }
});

impl Schemas {
    fn validator(&self, name: &str) -> Option<Arc<Validator>> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.entry(name.to_owned()).or_insert_with(|| self.compile(name)).clone()
    }

    fn compile(&self, name: &str) -> Option<Arc<Validator>> {
        let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": self.components});
        match jsonschema::draft202012::new(&schema) {
            Ok(validator) => Some(Arc::new(validator)),
            Err(error) => {
                tracing::error!(schema = name, %error, "a schema of the document cannot be used");
                None
            }
        }
    }
}

/// What of a body is not as its schema has it.
#[derive(Debug)]
pub(crate) struct Departure {
    /// Where: a JSON pointer (RFC 6901), empty for the body itself.
    pub(crate) pointer: String,
    what: String,
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.strip_prefix('/') {
            Some(place) => write!(f, "{place}: {}", self.what),
            None => write!(f, "the body: {}", self.what),
        }
    }
}

/// The first part of `body` that is not as the schema of `T` has it; `None` when it conforms.
pub(crate) fn departure<T: ToSchema>(body: &Value) -> Option<Departure> {
    let validator = SCHEMAS.validator(&T::name())?;
    let error = validator.iter_errors(body).next()?;
    Some(Departure { pointer: error.instance_path().to_string(), what: error.to_string() })
}

#[cfg(test)]
mod tests {
    use quarry_api_types::{CreateHost, State};

    use super::*;

    #[test]
    fn bodies_are_compared_with_the_document() {
        let host = |network: &str| json!({"name": "h", "networks": [network]});
        assert!(departure::<CreateHost>(&host("10.0.0.0/8")).is_none());
        assert!(
            departure::<CreateHost>(&host("10.1.2.3/8")).is_none(),
            "no schema says what is wrong with it"
        );
        let wrong = departure::<CreateHost>(&host("elsewhere")).unwrap();
        assert_eq!(wrong.pointer, "/networks/0");
        assert!(wrong.to_string().starts_with("networks/0: \"elsewhere\" does not match"), "{wrong}");
        let pool = json!({"pools": [{"name": "p", "devices": ["relative"]}]});
        assert_eq!(departure::<State>(&pool).unwrap().pointer, "/pools/0/devices/0");
        assert!(departure::<State>(&json!([])).unwrap().to_string().starts_with("the body: "));
    }

    #[test]
    fn every_schema_of_the_document_can_be_used() {
        let names: Vec<&String> = SCHEMAS.components["schemas"].as_object().unwrap().keys().collect();
        assert!(names.len() > 100);
        for name in names {
            assert!(SCHEMAS.validator(name).is_some(), "{name}");
        }
    }
}
