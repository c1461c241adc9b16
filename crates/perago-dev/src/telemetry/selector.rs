//! The part of the query language that is supported: a name, and labels that are equal to a text.

use super::Labels;

/// Why a query is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectorError {
    /// Not a selector.
    #[error("cannot parse {0:?} as a series selector")]
    Syntax(String),
    /// A valid query beyond what is supported.
    #[error("the embedded receiver answers plain series selectors with `=` only, not {0:?}")]
    Unsupported(String),
}

/// Labels that a series must have; an empty value means that it must not have the label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector(Vec<(String, String)>);

impl Selector {
    /// Parses `name`, `name{label="value"}` or `{__name__="name",label="value"}`.
    pub(crate) fn parse(text: &str) -> Result<Self, SelectorError> {
        let syntax = || SelectorError::Syntax(text.to_owned());
        let trimmed = text.trim();
        let (name, braces) = trimmed.split_at(trimmed.find('{').unwrap_or(trimmed.len()));
        let mut conditions = Vec::new();
        let name = name.trim();
        if !name.is_empty() {
            if name.contains(['(', ')', '[', ']', '+', '*', '/', ' ', ',', '"']) {
                return Err(SelectorError::Unsupported(text.to_owned()));
            }
            conditions.push(("__name__".to_owned(), name.replace('\\', "")));
        }
        if !braces.is_empty() {
            let mut rest = braces[1..].trim_start();
            while !rest.starts_with('}') {
                let end = rest.find(['=', '!', '~']).ok_or_else(syntax)?;
                let label = rest[..end].trim().trim_matches('"').replace('\\', "");
                let operator = &rest[end..];
                if operator.starts_with("=~") || operator.starts_with('!') {
                    return Err(SelectorError::Unsupported(text.to_owned()));
                }
                let (value, after) = quoted(operator[1..].trim_start()).ok_or_else(syntax)?;
                conditions.push((label, value));
                rest = after.trim_start();
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            }
            if !rest[1..].trim().is_empty() {
                return Err(SelectorError::Unsupported(text.to_owned()));
            }
        }
        if conditions.is_empty() { Err(syntax()) } else { Ok(Self(conditions)) }
    }

    /// Returns the name that a series must have, where there is one.
    pub(super) fn name(&self) -> Option<&str> {
        self.0.iter().find(|(label, _)| label == "__name__").map(|(_, name)| name.as_str())
    }

    /// Whether a series has these labels.
    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(label, value)| labels.get(label).map_or("", String::as_str) == value)
    }
}

/// Reads a text in double quotes; returns it with what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = inner.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '"' => return Some((value, &inner[position + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names_and_equalities() {
        let same = Selector::parse(r#"{__name__="app.items_count", task_name="a\"b",}"#).unwrap();
        assert_eq!(same, Selector::parse(r#"app.items_count{task_name="a\"b"}"#).unwrap());
        assert_eq!(same.name(), Some("app.items_count"));
        let mut labels: Labels = [("__name__", "app.items_count"), ("task_name", "a\"b")]
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
            .into();
        assert!(same.matches(&labels));
        labels.insert("task_name".to_owned(), "other".to_owned());
        assert!(!same.matches(&labels));
    }

    #[test]
    fn refuses_what_it_does_not_do() {
        for query in ["sum(a)", "rate(a[5m])", "a + b", r#"a{b=~"c"}"#, r#"a{b!="c"}"#, r#"a{b="c"}[5m]"#] {
            assert!(matches!(Selector::parse(query), Err(SelectorError::Unsupported(_))), "{query}");
        }
        for query in ["", "{}", "a{", "a{b}", "a{b=c}"] {
            assert!(matches!(Selector::parse(query), Err(SelectorError::Syntax(_))), "{query}");
        }
    }
}
