//! Parameters in: from JSON to the author's type.

use perago_contract::{Constraints, FailureCode};
use perago_worker::executor::message::Failure;
use serde::de::DeserializeOwned;

use super::refusal;

/// The most faults that one reason names.
const MOST_ERRORS: usize = 20;

/// Reads parameters and holds them against what their schema asks of values; unknown fields are ignored unless
/// `is_strict`.
pub(super) fn read<P: DeserializeOwned>(
    text: &str,
    is_strict: bool,
    constraints: Option<&Constraints>,
) -> Result<P, Failure> {
    // serde would read a list as the fields of a struct in their order.
    if !text.trim_start().starts_with('{') {
        let kind = std::any::type_name::<P>().rsplit("::").next().unwrap_or_default();
        return Err(refused(format!(
            "params: Input should be a valid dictionary or instance of {kind} [model_type]"
        )));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let mut unknown = Vec::new();
    let read = if is_strict {
        serde_ignored::deserialize(tracked, |path| unknown.push(refusal::extra(&path.to_string())))
    } else {
        P::deserialize(tracked)
    };
    match read {
        Ok(params) => {
            let mut reasons = violated(text, constraints);
            reasons.append(&mut unknown);
            if reasons.is_empty() { Ok(params) } else { Err(refused(listed(reasons))) }
        }
        Err(error) if error.is_data() => {
            let reason = refusal::reason(&track.path(), &error.to_string());
            // A number that the type cannot hold is beyond the bounds that the schema gives it, which say more.
            let beyond: Vec<String> = violated(text, constraints)
                .into_iter()
                .filter(|violated| refusal::place_of(violated) == refusal::place_of(&reason))
                .collect();
            Err(refused(if beyond.is_empty() { reason } else { listed(beyond) }))
        }
        Err(_) => Err(Failure {
            code: FailureCode::InputInvalid.code().to_owned(),
            reason: "params: not valid JSON".to_owned(),
        }),
    }
}

/// What is wrong with the values, by what their schema asks of them.
fn violated(text: &str, constraints: Option<&Constraints>) -> Vec<String> {
    let Some(constraints) = constraints else { return Vec::new() };
    // What serde could not read as JSON is refused for that.
    let Ok(value) = serde_json::from_str(text) else { return Vec::new() };
    constraints.violations(&value).iter().map(refusal::violation).collect()
}

fn listed(mut reasons: Vec<String>) -> String {
    let more = reasons.len().saturating_sub(MOST_ERRORS);
    reasons.truncate(MOST_ERRORS);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    reasons.join("; ")
}

fn refused(reason: String) -> Failure {
    Failure { code: FailureCode::ParamsInvalid.code().to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::schema::of_params;
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Codec {
        Wav,
        Flac,
        Ogg,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Track {
        gain: f64,
        codec: Codec,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Params {
        text: String,
        number: i64,
        #[serde(default)]
        tracks: Vec<Track>,
    }

    fn reason(text: &str, is_strict: bool) -> String {
        read::<Params>(text, is_strict, None).unwrap_err().reason
    }

    #[test]
    fn places_and_rules_are_named_and_values_are_not() {
        for (text, wanted) in [
            (r#""text""#, "params: Input should be a valid dictionary or instance of Params [model_type]"),
            (r#"["a", 1]"#, "params: Input should be a valid dictionary or instance of Params [model_type]"),
            (r#"{"text": "a"}"#, "params.number: Field required [missing]"),
            (r#"{"text": 7, "number": 1}"#, "params.text: Input should be a valid string [string_type]"),
            (
                r#"{"text": "", "number": "secret"}"#,
                "params.number: Input should be a valid integer [int_type]",
            ),
            (
                r#"{"text": "", "number": 1, "tracks": [{"gain": "secret, expected f64", "codec": "wav"}]}"#,
                "params.tracks.0.gain: Input should be a valid number [float_type]",
            ),
            (
                r#"{"text": "", "number": 1, "tracks": [{"gain": 1, "codec": "secret, expected `x`"}]}"#,
                "params.tracks.0.codec: Input should be 'wav', 'flac' or 'ogg' [enum]",
            ),
            (
                r#"{"text": "", "number": 18446744073709551615}"#,
                "params.number: invalid value: expected i64 [invalid_value]",
            ),
        ] {
            assert_eq!(reason(text, false), wanted, "{text}");
        }
    }

    #[test]
    fn strict_parameters_name_every_unknown_field() {
        let text =
            r#"{"text": "", "number": 1, "more": 1, "tracks": [{"gain": 1, "codec": "wav", "pan": 0}]}"#;
        assert!(read::<Params>(text, false, None).is_ok());
        let wanted = "params.more: Extra inputs are not permitted [extra_forbidden]; \
                      params.tracks.0.pan: Extra inputs are not permitted [extra_forbidden]";
        assert_eq!(reason(text, true), wanted);
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Bounded {
        #[schemars(range(min = 1, max = 9))]
        number: Option<i64>,
        #[serde(default)]
        small: u8,
        #[serde(default)]
        #[schemars(length(max = 30), inner(regex(pattern = "^[a-z]+$")))]
        words: Option<Vec<String>>,
        #[serde(default)]
        parts: Vec<Part>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Part {}

    #[test]
    fn what_the_schema_asks_for_is_held() {
        let schema = perago_contract::schema::transform(&of_params::<Bounded>(), true).unwrap();
        let constraints = Constraints::of(&schema).unwrap();
        let reason = |text: &str| {
            read::<Bounded>(text, false, constraints.as_ref()).err().map(|failure| failure.reason)
        };
        for (text, wanted) in [
            (r#"{"number": 9, "small": 255, "words": ["a"]}"#, None),
            (r#"{"number": null}"#, None),
            (
                r#"{"number": 0, "words": ["a", "B"]}"#,
                Some(
                    "params.number: Input should be greater than or equal to 1 [greater_than_equal]; \
                     params.words.1: String should match pattern '^[a-z]+$' [string_pattern_mismatch]",
                ),
            ),
            (
                r#"{"small": -1}"#,
                Some("params.small: Input should be greater than or equal to 0 [greater_than_equal]"),
            ),
            (
                r#"{"small": 256}"#,
                Some("params.small: Input should be less than or equal to 255 [less_than_equal]"),
            ),
            (r#"{"small": 1.5}"#, Some("params.small: Input should be a valid integer [int_type]")),
            (
                r#"{"parts": [{}, {"pan": 1}]}"#,
                Some("params.parts.1.pan: Extra inputs are not permitted [extra_forbidden]"),
            ),
            (r#"{"pan": 1}"#, Some("params.pan: Extra inputs are not permitted [extra_forbidden]")),
        ] {
            assert_eq!(reason(text).as_deref(), wanted, "{text}");
        }
        let many = format!(r#"{{"words": [{}"a"]}}"#, r#""A", "#.repeat(22));
        assert!(reason(&many).is_some_and(|reason| reason.ends_with("; and 2 more")));
    }

    proptest! {
        #[test]
        fn no_reason_holds_an_input(noise in "[a-z`\"',: ]{0,20}") {
            let secret = format!("{noise}hunter2{noise}");
            for text in [
                serde_json::json!({"text": "", "number": secret}),
                serde_json::json!({"text": "", "number": 1, "tracks": secret}),
                serde_json::json!({"text": "", "number": 1, "tracks": [secret]}),
                serde_json::json!({"text": "", "number": 1, "tracks": [{"gain": 1, "codec": secret}]}),
                serde_json::json!({"text": "", "number": 1, "tracks": [{"gain": secret, "codec": "wav"}]}),
            ] {
                let reason = reason(&text.to_string(), false);
                prop_assert!(!reason.contains("hunter2"), "{}", reason);
            }
        }
    }
}
