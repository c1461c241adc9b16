//! JSON Schemas as they stand in a TaskDef.
//!
//! A language's schema generator emits definitions, titles and descriptions of whole models; the contract keeps what
//! describes the data. The walk knows which keywords hold schemas and which hold data, so that a default or an
//! example that looks like a schema is never touched.

mod keywords;
mod prune;
mod references;

use serde_json::Value;

use crate::error::ContractError;
use keywords::as_object_type;
pub use keywords::map_subschemas;

/// Transforms the root schema of a model for a TaskDef.
///
/// 1. The root and every object definition keep only what describes their fields.
/// 2. References to definitions are replaced by them; what stands beside a reference wins. Recursive definitions
///    cannot be replaced and stay, with their references, under `$defs`.
/// 3. Titles go; a field called `title` stays.
/// 4. Every object with declared properties is open (`allow_extra`) or closed.
///
/// # Errors
/// A reference to a definition that is not there, or a schema that grows without measure when its definitions are
/// put in place of their references.
pub fn transform(schema: &Value, allow_extra: bool) -> Result<Value, ContractError> {
    let pruned = prune::prune_models(schema);
    let mut resolved = prune::prune_models(&references::resolve(&pruned)?);
    finish(&mut resolved, allow_extra);
    Ok(resolved)
}

/// Removes titles and sets `additionalProperties` in a schema and all below it.
fn finish(schema: &mut Value, allow_extra: bool) {
    let Some(keywords) = schema.as_object_mut() else { return };
    keywords.shift_remove("title");
    if as_object_type(keywords) && keywords.get("properties").is_some_and(Value::is_object) {
        keywords.insert("additionalProperties".to_owned(), Value::Bool(allow_extra));
    }
    map_subschemas(keywords, &mut |subschema| finish(subschema, allow_extra));
}

#[cfg(test)]
mod tests;
