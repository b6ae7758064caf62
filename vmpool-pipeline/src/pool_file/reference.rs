//! What a pool file may say, generated from its keys: a JSON schema for
//! editors, and a reference for people.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::keys::{AMAZON, FILE, Holds, LOCAL, Row, TABLES, Table};

const DURATION: &str = "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$";

/// The JSON schema of pool files (draft 2020-12). It refuses unknown keys,
/// which the runner warns of.
pub fn pool_file_schema() -> String {
    let defs: Map<String, Value> = TABLES
        .iter()
        .map(|table| (name(table), schema(table)))
        .collect();
    let whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pool file of vmpool",
        "$ref": reference(&FILE),
        "$defs": defs,
    });
    format!("{whole:#}\n")
}

fn schema(table: &Table) -> Value {
    let rows = table.rows.iter();
    let properties: Map<String, Value> = rows
        .map(|row| {
            let mut value = row.holds.map_or_else(|| json!({"deprecated": true}), held);
            value["description"] = says(row).into();
            (row.key.to_owned(), value)
        })
        .collect();
    let rows = table.rows.iter();
    // A spec may be a tenant's, which has only what differs.
    let is_spec = [&AMAZON, &LOCAL]
        .iter()
        .any(|spec| spec.title == table.title);
    let required: Vec<_> = rows
        .filter(|row| !is_spec && row.says.contains("Required"))
        .map(|row| row.key)
        .collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn held(holds: Holds) -> Value {
    let text = || json!({"type": ["string", "number"]});
    match holds {
        Holds::Text => text(),
        Holds::Texts => json!({"type": "array", "items": text()}),
        Holds::TextOrTexts => json!({"anyOf": [text(), {"type": "array", "items": text()}]}),
        Holds::Number => json!({"type": "integer"}),
        Holds::Flag => json!({"type": "boolean"}),
        Holds::Duration => json!({"type": "string", "pattern": DURATION}),
        Holds::Tags => json!({"type": "object", "additionalProperties": text()}),
        Holds::OneOf(choices) => json!({"enum": choices}),
        Holds::Map(table) => json!({"$ref": reference(table)}),
        Holds::List(table) => json!({"type": "array", "items": {"$ref": reference(table)}}),
        Holds::Spec => {
            json!({"anyOf": [{"$ref": reference(&AMAZON)}, {"$ref": reference(&LOCAL)}]})
        }
    }
}

fn reference(table: &Table) -> String {
    format!("#/$defs/{}", name(table))
}

/// `spec.account` is `spec-account`.
fn name(table: &Table) -> String {
    let title = table.title.to_lowercase();
    let words = title.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-")
}

fn says(row: &Row) -> String {
    match row.holds {
        Some(_) => row.says.to_owned(),
        None => format!("No effect here: {}.", row.says),
    }
}

/// The reference of pool files, in Markdown.
pub fn pool_file_reference() -> String {
    let mut text = String::from(
        "# The pool file\n\n\
         Which pools a runner keeps, in the incumbent's YAML. This page and the JSON schema \
         [pool-file.schema.json](pool-file.schema.json) are generated from the keys that the \
         program reads: `vmpool pool-schema` prints them. An unknown key is a warning that names \
         the nearest known one. Durations have a unit: `90s`, `10m`, `1h30m`.\n",
    );
    for table in TABLES {
        // Writing to a text can't fail.
        let _ = write!(
            text,
            "\n## {}\n\n| key | holds | |\n|---|---|---|\n",
            table.title
        );
        for row in table.rows {
            let holds = row.holds.map_or_else(String::new, told);
            let _ = writeln!(text, "| `{}` | {holds} | {} |", row.key, says(row));
        }
    }
    text
}

fn told(holds: Holds) -> String {
    match holds {
        Holds::Text => "text".into(),
        Holds::Texts => "texts".into(),
        Holds::TextOrTexts => "text or texts".into(),
        Holds::Number => "number".into(),
        Holds::Flag => "true, false".into(),
        Holds::Duration => "duration".into(),
        Holds::Tags => "map of texts".into(),
        Holds::OneOf(choices) => {
            let choices: Vec<_> = choices.iter().map(|choice| format!("`{choice}`")).collect();
            choices.join(", ")
        }
        Holds::Map(table) => linked(table),
        Holds::List(table) => format!("list of {}", linked(table)),
        Holds::Spec => format!("{} or {}", linked(&AMAZON), linked(&LOCAL)),
    }
}

/// A link to a section, as Markdown's readers name it.
fn linked(table: &Table) -> String {
    let title = table.title.to_lowercase();
    let kept = title
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '_'));
    let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
    format!("[{}](#{anchor})", table.title)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regenerate with `vmpool pool-schema > docs/pool-file.schema.json` and
    /// `vmpool pool-schema --reference > docs/pool-file.md`.
    #[test]
    fn the_files_of_the_documentation_are_what_is_generated() {
        let schema = include_str!("../../../docs/pool-file.schema.json");
        assert!(
            schema == pool_file_schema(),
            "docs/pool-file.schema.json is old"
        );
        let reference = include_str!("../../../docs/pool-file.md");
        assert!(
            reference == pool_file_reference(),
            "docs/pool-file.md is old"
        );
    }

    #[test]
    fn every_map_is_there_once_and_every_reference_leads_somewhere() {
        let schema: Value = serde_json::from_str(&pool_file_schema()).unwrap();
        let defs = schema["$defs"].as_object().unwrap();
        assert_eq!(defs.len(), TABLES.len());
        let text = schema.to_string();
        for part in text.split("#/$defs/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(defs.contains_key(name), "{name}");
        }
    }
}
