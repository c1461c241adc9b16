//! `GET /workflow/search`: equality and `IN` over a few fields, joined by `AND`.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

use super::Engine;
use super::error::EngineError;
use super::expression::java_text;
use super::model::Workflow;

/// A page of runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchResult<'a> {
    total_hits: usize,
    results: Vec<Summary<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    workflow_type: &'a str,
    version: i64,
    workflow_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    start_time: String,
    update_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<String>,
    status: &'a str,
    input: String,
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_for_incompletion: Option<&'a str>,
    execution_time: i64,
    failed_reference_task_names: String,
    priority: u8,
    failed_task_names: &'a [String],
    task_to_domain: &'a BTreeMap<String, String>,
    parent_workflow_id: &'static str,
    classifier: &'static str,
    input_size: usize,
    output_size: usize,
}

/// One condition: a field and the values it may have.
struct Condition {
    field: Field,
    values: Vec<String>,
}

#[derive(Clone, Copy)]
enum Field {
    WorkflowType,
    Status,
    WorkflowId,
    CorrelationId,
    Version,
}

impl Engine {
    /// Returns the runs that match `query`, `size` from position `start`, sorted by start time.
    pub fn search(
        &self,
        query: &str,
        start: usize,
        size: usize,
        descending: bool,
    ) -> Result<SearchResult<'_>, EngineError> {
        let conditions = parse(query)?;
        let all = self.workflows.values();
        let mut found: Vec<&Workflow> =
            all.filter(|workflow| conditions.iter().all(|condition| condition.holds(workflow))).collect();
        found.sort_by_key(|workflow| (workflow.create_time, workflow.id));
        if descending {
            found.reverse();
        }
        let page = found.iter().skip(start).take(size);
        Ok(SearchResult {
            total_hits: found.len(),
            results: page.map(|workflow| summary(workflow)).collect(),
        })
    }
}

impl Condition {
    fn holds(&self, workflow: &Workflow) -> bool {
        let definition = &workflow.plan.definition;
        let value = match self.field {
            Field::WorkflowType => definition.name.clone(),
            Field::Status => workflow.status.name().to_owned(),
            Field::WorkflowId => workflow.id.to_string(),
            Field::CorrelationId => workflow.correlation_id.clone().unwrap_or_default(),
            Field::Version => definition.version.to_string(),
        };
        self.values.contains(&value)
    }
}

fn parse(query: &str) -> Result<Vec<Condition>, EngineError> {
    let unsupported = || EngineError::unsupported(format!("the search query {query:?}"));
    let mut conditions = Vec::new();
    let mut rest = query.trim();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_alphanumeric()).ok_or_else(unsupported)?;
        let field = match &rest[..end] {
            "workflowType" => Field::WorkflowType,
            "status" => Field::Status,
            "workflowId" => Field::WorkflowId,
            "correlationId" => Field::CorrelationId,
            "version" => Field::Version,
            _ => return Err(unsupported()),
        };
        rest = rest[end..].trim_start();
        let values;
        if let Some(after) = rest.strip_prefix('=') {
            let (value, after) = value(after.trim_start()).ok_or_else(unsupported)?;
            (values, rest) = (vec![value], after);
        } else {
            let list = rest.strip_prefix("IN").map(str::trim_start).and_then(|after| after.strip_prefix('('));
            let (inside, after) = list.and_then(|list| list.split_once(')')).ok_or_else(unsupported)?;
            let parsed = inside.split(',').map(|text| value(text.trim()).map(|(value, _)| value));
            values = parsed.collect::<Option<Vec<_>>>().ok_or_else(unsupported)?;
            rest = after;
        }
        conditions.push(Condition { field, values });
        rest = rest.trim_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix("AND").ok_or_else(unsupported)?.trim_start();
        }
    }
    Ok(conditions)
}

/// Reads a quoted or bare value; returns it with what follows.
fn value(text: &str) -> Option<(String, &str)> {
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote) {
            let (value, rest) = inner.split_once(quote)?;
            return Some((value.to_owned(), rest));
        }
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

fn summary(workflow: &Workflow) -> Summary<'_> {
    let (input, output) = (java_text(workflow.input.get()), java_text(workflow.output.get()));
    let ended = workflow.end_time > 0;
    Summary {
        workflow_type: &workflow.plan.definition.name,
        version: workflow.plan.definition.version,
        workflow_id: workflow.id.to_string(),
        correlation_id: workflow.correlation_id.as_deref(),
        start_time: iso(workflow.create_time),
        update_time: iso(workflow.update_time),
        end_time: ended.then(|| iso(workflow.end_time)),
        status: workflow.status.name(),
        input_size: input.len(),
        output_size: output.len(),
        input,
        output,
        reason_for_incompletion: workflow.reason.as_deref(),
        execution_time: if ended { workflow.end_time - workflow.create_time } else { 0 },
        failed_reference_task_names: workflow.failed_reference_names.join(","),
        priority: workflow.priority,
        failed_task_names: &workflow.failed_task_names,
        task_to_domain: &workflow.task_to_domain,
        parent_workflow_id: "",
        classifier: "workflow",
    }
}

fn iso(milliseconds: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000);
    moment.ok().and_then(|moment| moment.format(&format).ok()).unwrap_or_default()
}
