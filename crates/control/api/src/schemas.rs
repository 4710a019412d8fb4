//! What the types do not say of their schemas: how large whole numbers may be, that a change changes something, what names a device, and
//! what can be watched.

use quarry_api_types::{WatchSort, Watched};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ArrayItems, KnownFormat, SchemaFormat};
use utoipa::openapi::{OpenApi, Ref, RefOr, Schema};
use utoipa::{Number, ToSchema};

/// Schemas with a list of devices. What may name one is said of `AddDevice`.
const WITH_DEVICES: [&str; 2] = ["CreatePool", "StatedPool"];

/// Adds it to a document.
pub(crate) fn complete(document: &mut OpenApi) {
    let changes: Vec<String> = document.paths.paths.values().filter_map(body_of_change).collect();
    let Some(components) = &mut document.components else { return };
    for name in changes {
        if let Some(RefOr::T(Schema::Object(change))) = components.schemas.get_mut(&name) {
            change.min_properties = Some(1);
        }
    }
    components.schemas.values_mut().for_each(bound);
    let device = components.schemas.get("AddDevice").and_then(pattern_of_path);
    for name in WITH_DEVICES {
        components.schemas.get_mut(name).into_iter().for_each(|schema| name_devices(schema, device.as_ref()));
    }
    components.schemas.get_mut("WatchEvent").into_iter().for_each(say_what_data_is);
    let watch = document.paths.paths.get_mut("/v1/watch").and_then(|path| path.get.as_mut());
    watch.into_iter().for_each(name_sorts);
    let operations = document.paths.paths.values_mut().flat_map(|path| {
        let PathItem { get, put, post, delete, patch, .. } = path;
        [get, put, post, delete, patch].into_iter().flatten()
    });
    for parameter in operations.flat_map(|operation| operation.parameters.iter_mut().flatten()) {
        if let RefOr::T(parameter) = parameter {
            parameter.schema.iter_mut().for_each(bound);
        }
    }
}

fn pattern_of_path(schema: &RefOr<Schema>) -> Option<String> {
    let RefOr::T(Schema::Object(object)) = schema else { return None };
    match object.properties.get("path")? {
        RefOr::T(Schema::Object(path)) => path.pattern.clone(),
        _ => None,
    }
}

fn name_devices(schema: &mut RefOr<Schema>, pattern: Option<&String>) {
    let RefOr::T(Schema::Object(object)) = schema else { return };
    if let Some(RefOr::T(Schema::Array(list))) = object.properties.get_mut("devices")
        && let ArrayItems::RefOrSchema(items) = &mut list.items
        && let RefOr::T(Schema::Object(device)) = &mut **items
    {
        device.pattern = pattern.cloned();
    }
}

/// The data of an event is a text with another document in it.
fn say_what_data_is(event: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(event)) = event
        && let Some(RefOr::T(Schema::Object(data))) = event.properties.get_mut("data")
    {
        data.content_schema = Some(Box::new(RefOr::Ref(Ref::from_schema_name(Watched::name()))));
    }
}

/// A watch is of one sort at least, and of those that there are.
fn name_sorts(watch: &mut Operation) {
    let words = WatchSort::ALL.iter().map(|sort| sort.as_str()).collect::<Vec<_>>().join("|");
    for parameter in watch.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && parameter.name == "sorts"
            && let Some(RefOr::T(Schema::Object(sorts))) = &mut parameter.schema
        {
            sorts.pattern = Some(format!("^({words})(,({words}))*$"));
        }
    }
}

/// The name of the schema of what `PATCH` takes.
fn body_of_change(path: &PathItem) -> Option<String> {
    let RefOr::T(body) = path.patch.as_ref()?.request_body.as_ref()? else { return None };
    let RefOr::T(content) = body.content.values().next()? else { return None };
    match content.schema.as_ref()? {
        RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().map(str::to_owned),
        RefOr::T(_) => None,
    }
}

/// Gives every whole number in a schema the largest value that there is of its type, where it has no bound of its own.
fn bound(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            if let Some((name, largest)) = object.format.as_ref().and_then(unsigned) {
                object.format = Some(SchemaFormat::Custom(name.to_owned()));
                object.maximum.get_or_insert(Number::UInt(largest as usize));
            }
            object.properties.values_mut().for_each(bound);
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                bound(items);
            }
        }
        Schema::OneOf(one) => one.items.iter_mut().for_each(bound),
        Schema::AllOf(all) => all.items.iter_mut().for_each(bound),
        Schema::AnyOf(any) => any.items.iter_mut().for_each(bound),
        _ => {}
    }
}

/// Name, as the OpenAPI registry has it, and the largest value of a format of numbers without a sign.
fn unsigned(format: &SchemaFormat) -> Option<(&'static str, u64)> {
    let SchemaFormat::KnownFormat(format) = format else { return None };
    match format {
        KnownFormat::UInt8 => Some(("uint8", u8::MAX.into())),
        KnownFormat::UInt16 => Some(("uint16", u16::MAX.into())),
        KnownFormat::UInt32 => Some(("uint32", u32::MAX.into())),
        KnownFormat::UInt64 => Some(("uint64", u64::MAX)),
        _ => None,
    }
}
