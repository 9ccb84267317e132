//! Checks JSON against the part of JSON Schema that `result.schema.json` uses.
//!
//! Known: `$ref` into the same file, `type`, `enum`, `minimum`, `required`, `properties`,
//! `additionalProperties`, `items`. Any other keyword is an error, so that a rule which is written
//! down is never silently unchecked.

use serde_json::Value;

const SCHEMA: &str = include_str!("../../schema/result.schema.json");

/// Everything in `value` that the schema of results does not allow.
pub(crate) fn offences(value: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let mut found = Vec::new();
    check(&schema, &schema, value, "$", &mut found);
    found
}

fn check(root: &Value, rule: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    if let Some(reference) = rule.get("$ref").and_then(Value::as_str) {
        let pointer = reference.strip_prefix('#').expect("references stay in the file");
        let target = root.pointer(pointer).expect("references lead somewhere");
        return check(root, target, value, path, found);
    }
    let Value::Object(keywords) = rule else { panic!("a rule is an object at {path}") };
    for (keyword, wanted) in keywords {
        let is_kept = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => true,
            "type" => has_type(wanted, value),
            "enum" => wanted.as_array().is_some_and(|all| all.contains(value)),
            "minimum" => value.as_f64().is_none_or(|number| Some(number) >= wanted.as_f64()),
            "required" => names(wanted).all(|name| value.is_null() || value.get(name).is_some()),
            // Members are checked once, whichever of the two is written.
            "additionalProperties" if keywords.contains_key("properties") => true,
            "properties" | "additionalProperties" => {
                check_members(root, rule, value, path, found);
                true
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, item, &format!("{path}[{index}]"), found);
                }
                true
            }
            other => panic!("the validator does not know `{other}`"),
        };
        if !is_kept {
            found.push(format!("{path}: {keyword} {wanted} does not hold"));
        }
    }
}

fn check_members(root: &Value, rule: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    for (name, member) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let known = rule.get("properties").and_then(|properties| properties.get(name));
        match (known, rule.get("additionalProperties")) {
            (Some(rule), _) => check(root, rule, member, &path, found),
            (None, Some(Value::Bool(false))) => found.push(format!("{path}: not in the schema")),
            (None, Some(rule @ Value::Object(_))) => check(root, rule, member, &path, found),
            (None, _) => {}
        }
    }
}

fn names(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn has_type(wanted: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the validator does not know the type `{other}`"),
    };
    wanted.as_str().is_some_and(is) || names(wanted).any(is)
}
