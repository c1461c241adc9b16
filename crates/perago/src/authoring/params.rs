//! Parameters in: from JSON to the author's type.

use perago_contract::FailureCode;
use perago_worker::executor::message::Failure;
use serde::de::DeserializeOwned;

use super::refusal;

/// The most unknown fields that one reason names.
const MOST_ERRORS: usize = 20;

/// Reads parameters; unknown fields are ignored unless `is_strict`.
pub(super) fn read<P: DeserializeOwned>(text: &str, is_strict: bool) -> Result<P, Failure> {
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
        Ok(params) if unknown.is_empty() => Ok(params),
        Ok(_) => {
            let more = unknown.len().saturating_sub(MOST_ERRORS);
            unknown.truncate(MOST_ERRORS);
            if more > 0 {
                unknown.push(format!("and {more} more"));
            }
            Err(refused(unknown.join("; ")))
        }
        Err(error) if error.is_data() => Err(refused(refusal::reason(&track.path(), &error.to_string()))),
        Err(_) => Err(Failure {
            code: FailureCode::InputInvalid.code().to_owned(),
            reason: "params: not valid JSON".to_owned(),
        }),
    }
}

fn refused(reason: String) -> Failure {
    Failure { code: FailureCode::ParamsInvalid.code().to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

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
        read::<Params>(text, is_strict).unwrap_err().reason
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
        assert!(read::<Params>(text, false).is_ok());
        let wanted = "params.more: Extra inputs are not permitted [extra_forbidden]; \
                      params.tracks.0.pan: Extra inputs are not permitted [extra_forbidden]";
        assert_eq!(reason(text, true), wanted);
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
