//! Definitions in place of the references to them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::keywords::map_subschemas;
use crate::error::ContractError;

/// Schemas below one root after replacing; a handful of models that refer to each other many times can otherwise
/// grow exponentially.
const MOST_SCHEMAS: usize = 100_000;

const PREFIXES: [&str; 2] = ["#/$defs/", "#/definitions/"];

/// Replaces each reference by its definition where that comes to an end, and keeps the recursive definitions.
pub(super) fn resolve(schema: &Value) -> Result<Value, ContractError> {
    let mut root = schema.clone();
    let definitions = take_definitions(&mut root);
    let recursive = recursive_names(&definitions);
    let mut resolver =
        Resolver { definitions: &definitions, recursive: &recursive, schemas: 0, failure: None };
    // The root of a model that contains itself is only a reference; a TaskDef needs the object in its place.
    while let Some(name) = reference(&root) {
        let definition = definitions.get(&name).ok_or_else(|| missing(&name))?;
        let replaced = merge(definition, &root);
        if replaced == root || resolver.over_limit() {
            return Err(too_large());
        }
        root = replaced;
    }
    resolver.below(&mut root);
    let mut kept = Map::new();
    for (name, definition) in definitions.iter().filter(|(name, _)| recursive.contains(*name)) {
        let mut definition = definition.clone();
        resolver.below(&mut definition);
        kept.insert(name.clone(), definition);
    }
    if let Some(failure) = resolver.failure {
        return Err(failure);
    }
    retain_reachable(&root, &mut kept);
    if let (Value::Object(keywords), false) = (&mut root, kept.is_empty()) {
        keywords.insert("$defs".to_owned(), Value::Object(kept));
    }
    Ok(root)
}

struct Resolver<'a> {
    definitions: &'a Map<String, Value>,
    recursive: &'a BTreeSet<String>,
    schemas: usize,
    failure: Option<ContractError>,
}

impl Resolver<'_> {
    fn over_limit(&mut self) -> bool {
        self.schemas += 1;
        self.schemas > MOST_SCHEMAS
    }

    fn below(&mut self, schema: &mut Value) {
        if let Some(keywords) = schema.as_object_mut() {
            map_subschemas(keywords, &mut |subschema| self.replace(subschema));
        }
    }

    fn replace(&mut self, schema: &mut Value) {
        if self.failure.is_some() {
            return;
        }
        if self.over_limit() {
            self.failure = Some(too_large());
            return;
        }
        while let Some(name) = reference(schema).filter(|name| !self.recursive.contains(name)) {
            let Some(definition) = self.definitions.get(&name) else {
                self.failure = Some(missing(&name));
                return;
            };
            *schema = merge(definition, schema);
        }
        if let Some(name) = reference(schema) {
            set_reference(schema, &name);
        }
        self.below(schema);
    }
}

fn take_definitions(root: &mut Value) -> Map<String, Value> {
    let mut definitions = Map::new();
    if let Some(keywords) = root.as_object_mut() {
        for keyword in ["$defs", "definitions"] {
            if let Some(Value::Object(entries)) = keywords.shift_remove(keyword) {
                definitions.extend(entries);
            }
        }
    }
    definitions
}

/// The name of the definition that a schema refers to; references to elsewhere are data to us.
fn reference(schema: &Value) -> Option<String> {
    let target = schema.get("$ref")?.as_str()?;
    let pointer = PREFIXES.iter().find_map(|prefix| target.strip_prefix(prefix))?;
    Some(pointer.replace("~1", "/").replace("~0", "~"))
}

fn set_reference(schema: &mut Value, name: &str) {
    let pointer = name.replace('~', "~0").replace('/', "~1");
    schema["$ref"] = Value::String(format!("{}{pointer}", PREFIXES[0]));
}

/// The definition with what stands beside the reference to it, which wins.
fn merge(definition: &Value, referring: &Value) -> Value {
    let (Value::Object(definition), Value::Object(referring)) = (definition, referring) else {
        return definition.clone();
    };
    let mut merged = definition.clone();
    for (keyword, value) in referring.iter().filter(|(keyword, _)| *keyword != "$ref") {
        merged.insert(keyword.clone(), value.clone());
    }
    Value::Object(merged)
}

/// The definitions from which a chain of references leads back to themselves.
fn recursive_names(definitions: &Map<String, Value>) -> BTreeSet<String> {
    let edges: BTreeMap<&str, BTreeSet<String>> =
        definitions.iter().map(|(name, definition)| (name.as_str(), references_in(definition))).collect();
    definitions
        .keys()
        .filter(|name| reachable(&edges, edges[name.as_str()].iter()).contains(*name))
        .cloned()
        .collect()
}

fn reachable<'a>(
    edges: &BTreeMap<&str, BTreeSet<String>>,
    start: impl Iterator<Item = &'a String>,
) -> BTreeSet<String> {
    let mut waiting: Vec<String> = start.cloned().collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if let Some(next) = edges.get(name.as_str()) {
            waiting.extend(next.iter().filter(|next| !seen.contains(*next)).cloned());
        }
        seen.insert(name);
    }
    seen
}

fn references_in(schema: &Value) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = reference(schema).into_iter().collect();
    // `map_subschemas` is the one place that knows where schemas are; it wants a mutable schema.
    if let Some(mut keywords) = schema.as_object().cloned() {
        map_subschemas(&mut keywords, &mut |subschema| names.extend(references_in(subschema)));
    }
    names
}

fn retain_reachable(root: &Value, definitions: &mut Map<String, Value>) {
    let edges: BTreeMap<&str, BTreeSet<String>> =
        definitions.iter().map(|(name, definition)| (name.as_str(), references_in(definition))).collect();
    let needed = reachable(&edges, references_in(root).iter());
    definitions.retain(|name, _| needed.contains(name));
}

fn missing(name: &str) -> ContractError {
    ContractError::new(
        "PERAGO-SCHEMA-REFERENCE",
        format!("schema refers to a definition that is not there: {name}"),
    )
}

fn too_large() -> ContractError {
    ContractError::new(
        "PERAGO-SCHEMA-TOO-LARGE",
        "schema has too many parts once its definitions are put in place",
    )
    .with_hint("let fewer models refer to each other, or pass the data as a file")
}
