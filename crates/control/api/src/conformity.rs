//! Whether a body is as the document says that it is.

use std::collections::HashMap;
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

/// What of `body` is not as the schema of `T` has it: where, and what; `None` when it conforms.
pub(crate) fn departure<T: ToSchema>(body: &Value) -> Option<String> {
    let validator = SCHEMAS.validator(&T::name())?;
    let error = validator.iter_errors(body).next()?;
    let place = error.instance_path().to_string();
    Some(format!("{}: {error}", if place.is_empty() { "the body" } else { place.trim_start_matches('/') }))
}

#[cfg(test)]
mod tests {
    use quarry_api_types::{CreateHost, State};

    use super::*;

    #[test]
    fn bodies_are_compared_with_the_document() {
        let host = |network: &str| json!({"name": "h", "networks": [network]});
        assert_eq!(departure::<CreateHost>(&host("10.0.0.0/8")), None);
        assert_eq!(
            departure::<CreateHost>(&host("10.1.2.3/8")),
            None,
            "no schema says what is wrong with it"
        );
        let wrong = departure::<CreateHost>(&host("elsewhere")).unwrap();
        assert!(wrong.starts_with("networks/0: \"elsewhere\" does not match"), "{wrong}");
        let pool = json!({"pools": [{"name": "p", "devices": ["relative"]}]});
        assert!(departure::<State>(&pool).unwrap().starts_with("pools/0/devices/0: "));
        assert!(departure::<State>(&json!([])).unwrap().starts_with("the body: "));
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
