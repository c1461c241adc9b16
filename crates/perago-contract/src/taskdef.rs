//! The TaskDef of a task.

use serde_json::{Map, Value, json};

use crate::description::TaskDescription;
use crate::error::ContractError;
use crate::schema;

/// The transformed schemas of a task's parameters and result.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSchemas {
    /// Schema of the parameters; open unless the task has strict parameters.
    pub params: Value,
    /// Schema of the result; closed.
    pub result: Value,
}

impl TaskSchemas {
    /// Transforms both schemas of a description.
    ///
    /// # Errors
    /// A schema that cannot be transformed or does not describe an object.
    pub fn of(description: &TaskDescription) -> Result<Self, ContractError> {
        Ok(Self {
            params: object_schema("params", &description.params_schema, !description.strict_params)?,
            result: object_schema("result", &description.result_schema, false)?,
        })
    }
}

fn object_schema(role: &str, schema: &Value, allow_extra: bool) -> Result<Value, ContractError> {
    let transformed = schema::transform(schema, allow_extra)?;
    if transformed.get("type").and_then(Value::as_str) == Some("object") {
        return Ok(transformed);
    }
    Err(ContractError::new(
        "PERAGO-SCHEMA-NOT-OBJECT",
        format!("the schema of {role} must describe a JSON object"),
    ))
}

/// The TaskDef of a description whose names were checked.
pub(crate) fn build(description: &TaskDescription) -> Result<Value, ContractError> {
    let schemas = TaskSchemas::of(description)?;
    let mut task_def = Map::new();
    task_def.insert("name".to_owned(), description.name.clone().into());
    task_def.insert("ownerEmail".to_owned(), description.owner_email.clone().into());
    if let Some(text) = &description.description {
        task_def.insert("description".to_owned(), text.clone());
    }
    description.controls.write_task_def(&mut task_def);
    let with_workspace = |key: &'static str| {
        if description.has_workspace() { vec!["workspace", key] } else { vec![key] }
    };
    let (input_keys, output_keys) = (with_workspace("params"), with_workspace("result"));
    task_def.insert("inputKeys".to_owned(), input_keys.clone().into());
    task_def.insert("outputKeys".to_owned(), output_keys.clone().into());
    let input = schema_record(&description.name, "input", &data_schema(&input_keys, schemas.params, true));
    let output =
        schema_record(&description.name, "output", &data_schema(&output_keys, schemas.result, false));
    task_def.insert("inputSchema".to_owned(), input);
    task_def.insert("outputSchema".to_owned(), output);
    Ok(Value::Object(task_def))
}

fn schema_record(task_name: &str, direction: &str, data: &Value) -> Value {
    json!({"name": format!("{task_name}.{direction}"), "version": 1, "type": "JSON", "data": data})
}

/// The schema of an envelope; recursive definitions move to its root, where their references point.
fn data_schema(keys: &[&str], mut payload: Value, open: bool) -> Value {
    let definitions = payload.as_object_mut().and_then(|keywords| keywords.shift_remove("$defs"));
    let mut properties = Map::new();
    for key in keys {
        let schema = if *key == "workspace" { workspace_schema() } else { payload.clone() };
        properties.insert((*key).to_owned(), schema);
    }
    let mut data = json!({
        "type": "object", "properties": properties, "required": keys, "additionalProperties": open,
    });
    if let Some(definitions) = definitions {
        data["$defs"] = definitions;
    }
    data
}

fn workspace_schema() -> Value {
    json!({
        "additionalProperties": false,
        "properties": {
            "repository": {"minLength": 1, "type": "string"},
            "branch": {"minLength": 1, "type": "string"},
            "refType": {"const": "commit", "type": "string"},
            "ref": {"minLength": 1, "type": "string"},
        },
        "required": ["repository", "branch", "refType", "ref"],
        "type": "object",
    })
}
