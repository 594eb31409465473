//! As much of JSON Schema (2020-12) as the description uses; a keyword that is not known here fails.

use serde_json::Value;

/// What only tells people something.
const ANNOTATIONS: [&str; 6] = ["default", "description", "example", "examples", "format", "title"];

/// Whether `value` is what `schema` says, or where it is not; `document` is where references lead.
pub(super) fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let keywords = schema.as_object().unwrap_or_else(|| panic!("{at}: no schema: {schema}"));
    for (keyword, said) in keywords {
        let holds = match keyword.as_str() {
            "$ref" => {
                let named = said.as_str().and_then(|link| document.pointer(link.strip_prefix('#')?));
                check(document, named.unwrap_or_else(|| panic!("{said} is nowhere")), value, at)?;
                true
            }
            "anyOf" => list(said).iter().any(|schema| check(document, schema, value, at).is_ok()),
            "type" => match said {
                Value::Array(types) => types.iter().any(|name| is(value, name)),
                name => is(value, name),
            },
            "enum" => list(said).contains(value),
            "required" => {
                list(said).iter().all(|name| value.as_object().is_none_or(|has| has.contains_key(text(name))))
            }
            "properties" => {
                for (name, schema) in said.as_object().into_iter().flatten() {
                    if let Some(member) = value.get(name) {
                        check(document, schema, member, &format!("{at}/{name}"))?;
                    }
                }
                true
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, said, item, &format!("{at}/{number}"))?;
                }
                true
            }
            "minimum" => value.as_f64().is_none_or(|number| said.as_f64().is_some_and(|least| number >= least)),
            "maximum" => value.as_f64().is_none_or(|number| said.as_f64().is_some_and(|most| number <= most)),
            "minLength" => value.as_str().is_none_or(|text| length(text) >= said.as_u64()),
            "maxLength" => value.as_str().is_none_or(|text| length(text) <= said.as_u64()),
            "pattern" => {
                let pattern = regex::Regex::new(text(said)).expect("a pattern");
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            other => {
                assert!(ANNOTATIONS.contains(&other), "{at}: {other} is not known here");
                true
            }
        };
        if !holds {
            return Err(format!("{at}: not {keyword} {said}: {value}"));
        }
    }
    Ok(())
}

fn length(text: &str) -> Option<u64> {
    u64::try_from(text.chars().count()).ok()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn is(value: &Value, name: &Value) -> bool {
    match text(name) {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    }
}

#[test]
fn what_is_not_as_the_schema_says_is_found() {
    use serde_json::json;

    let document = json!({"a": {"type": "integer", "minimum": 1}});
    let schema = json!({
        "type": "object",
        "required": ["n"],
        "properties": {"n": {"$ref": "#/a"}, "l": {"items": {"anyOf": [{"type": "null"}, {"enum": ["x"]}]}}}
    });
    for (value, good) in [
        (json!({"n": 1, "l": ["x", null], "more": 5}), true),
        (json!({"n": 0}), false),
        (json!({"n": 1.5}), false),
        (json!({"n": "1"}), false),
        (json!({"n": 1, "l": ["y"]}), false),
        (json!({}), false),
        (json!([]), false),
    ] {
        assert_eq!(check(&document, &schema, &value, "").is_ok(), good, "{value}");
    }
}
