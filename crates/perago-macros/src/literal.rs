//! Expressions whose value is known when the author's crate is compiled.

use serde_json::Value;
use syn::{Expr, Lit, UnOp};

/// The value of a literal, or of a list of literals; anything else is known only when the program runs.
pub(crate) fn value_of(expr: &Expr) -> Option<Value> {
    match expr {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value().into()),
            Lit::Bool(value) => Some(value.value.into()),
            Lit::Int(number) => number.base10_parse::<i64>().ok().map(Value::from),
            Lit::Float(number) => number.base10_parse::<f64>().ok().map(Value::from),
            _ => None,
        },
        Expr::Unary(negated) if matches!(negated.op, UnOp::Neg(_)) => match value_of(&negated.expr)? {
            Value::Number(number) if number.is_i64() => number.as_i64()?.checked_neg().map(Value::from),
            Value::Number(number) => number.as_f64().map(|number| Value::from(-number)),
            _ => None,
        },
        Expr::Array(list) => list.elems.iter().map(value_of).collect(),
        Expr::Group(group) => value_of(&group.expr),
        Expr::Paren(group) => value_of(&group.expr),
        _ => None,
    }
}

/// The text of a string literal.
pub(crate) fn text_of(expr: &Expr) -> Option<String> {
    match value_of(expr)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}
