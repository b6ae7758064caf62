//! Holds the expressions of Grafana dashboards (`.json`) and Prometheus rules
//! (`.yml`) against what a runner told, which is read from standard input: each
//! metric must be told, and each label that is matched, grouped or joined by must
//! be one of the metrics' below. What Prometheus adds itself (`instance`, `job`,
//! `le`) counts as told; so does what a rule before records.
//!
//!     vmpool's /metrics | deploy-check vmpool.json vmpool.rules.yml

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

use anyhow::{Context as _, Result, bail};
use prometheus_parse::{Scrape, Value as Told};
use promql_parser::parser::{self, Expr, VectorSelector};
use serde::Deserialize;
use serde_json::Value;

/// Labels that Prometheus adds.
const ADDED: [&str; 3] = ["instance", "job", "le"];

/// What Grafana puts into an expression that is no string.
const VARIABLES: [(&str, &str); 2] = [("$__rate_interval", "5m"), ("$__range", "6h")];

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    record: Option<String>,
    expr: String,
}

/// The labels of each metric.
type Metrics = BTreeMap<String, BTreeSet<String>>;

fn main() -> Result<ExitCode> {
    let mut metrics = told(&io::read_to_string(io::stdin())?)?;
    let mut wrong = Vec::new();
    let mut checked = 0;
    // Rules first: dashboards ask for what they record.
    let mut files: Vec<_> = std::env::args().skip(1).collect();
    files.sort_by_key(|file| file.ends_with(".json"));
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        let expressions = match Path::new(&file).extension().and_then(|it| it.to_str()) {
            Some("json") => of_dashboard(&serde_json::from_str(&text)?),
            Some("yml") => of_rules(&text)?,
            _ => bail!("{file} is neither a dashboard nor rules"),
        };
        for (record, text) in expressions {
            checked += 1;
            match check(&text, &metrics) {
                Ok(labels) => {
                    metrics.extend(record.map(|record| (record, labels)));
                }
                Err(error) => wrong.push(format!("{file}: {error:#}\n    {text}")),
            }
        }
    }
    for line in &wrong {
        eprintln!("{line}");
    }
    println!("{checked} expressions, {} wrong", wrong.len());
    Ok(ExitCode::from(u8::from(checked == 0 || !wrong.is_empty())))
}

fn told(text: &str) -> Result<Metrics> {
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned())))?;
    let mut metrics = Metrics::new();
    for sample in scrape.samples {
        let is_histogram = matches!(sample.value, Told::Histogram(_));
        let suffix = if is_histogram { "_bucket" } else { "" };
        let name = format!("{}{suffix}", sample.metric);
        let labels = metrics.entry(name).or_default();
        labels.extend(sample.labels.keys().cloned());
    }
    Ok(metrics)
}

fn of_rules(text: &str) -> Result<Vec<(Option<String>, String)>> {
    let rules: Rules = serde_saphyr::from_str(text)?;
    let rules = rules.groups.into_iter().flat_map(|group| group.rules);
    Ok(rules.map(|rule| (rule.record, rule.expr)).collect())
}

/// Each `expr`, and each variable's metric with its label, wherever it is.
fn of_dashboard(value: &Value) -> Vec<(Option<String>, String)> {
    let mut found = Vec::new();
    let inner: Vec<&Value> = match value {
        Value::Array(values) => values.iter().collect(),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str);
            if let Some(expr) = text("expr") {
                let replaced = VARIABLES
                    .iter()
                    .fold(expr.to_owned(), |expr, (name, value)| {
                        expr.replace(name, value)
                    });
                found.push((None, replaced));
            }
            if let (Some(metric), Some(label)) = (text("metric"), text("label")) {
                found.push((None, format!("count by ({label}) ({metric})")));
            }
            fields.values().collect()
        }
        _ => Vec::new(),
    };
    found.extend(inner.into_iter().flat_map(of_dashboard));
    found
}

/// The labels that the expression's answer may have.
fn check(text: &str, metrics: &Metrics) -> Result<BTreeSet<String>> {
    let expr = parser::parse(text).map_err(anyhow::Error::msg)?;
    labels_of(&expr, metrics)
}

fn labels_of(expr: &Expr, metrics: &Metrics) -> Result<BTreeSet<String>> {
    Ok(match expr {
        Expr::Aggregate(it) => {
            if let Some(param) = &it.param {
                labels_of(param, metrics)?;
            }
            let below = labels_of(&it.expr, metrics)?;
            let Some(modifier) = &it.modifier else {
                return Ok(BTreeSet::new());
            };
            let named: BTreeSet<_> = modifier.labels().labels.iter().cloned().collect();
            has_all(&below, &named)?;
            if modifier.is_include() {
                named
            } else {
                &below - &named
            }
        }
        Expr::Binary(it) => {
            let (left, right) = (labels_of(&it.lhs, metrics)?, labels_of(&it.rhs, metrics)?);
            let matching = it.modifier.as_ref().and_then(|it| it.matching.as_ref());
            if let Some(matching) = matching {
                let named = matching.labels().labels.iter().cloned().collect();
                has_all(&left, &named)?;
                has_all(&right, &named)?;
            }
            &left | &right
        }
        Expr::Unary(it) => labels_of(&it.expr, metrics)?,
        Expr::Paren(it) => labels_of(&it.expr, metrics)?,
        Expr::Subquery(it) => labels_of(&it.expr, metrics)?,
        Expr::VectorSelector(it) => selected(it, metrics)?,
        Expr::MatrixSelector(it) => selected(&it.vs, metrics)?,
        Expr::Call(it) => {
            let mut labels = BTreeSet::new();
            for arg in &it.args.args {
                labels.extend(labels_of(arg, metrics)?);
            }
            labels
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => BTreeSet::new(),
        other => bail!("not known here: {other:?}"),
    })
}

fn selected(selector: &VectorSelector, metrics: &Metrics) -> Result<BTreeSet<String>> {
    let name = selector.name.as_deref().context("a selector has no name")?;
    let told = metrics.get(name);
    let mut labels = told
        .with_context(|| format!("no runner tells {name}"))?
        .clone();
    labels.extend(ADDED.map(str::to_owned));
    let matched = selector.matchers.matchers.iter();
    let matched = matched.map(|matcher| matcher.name.clone()).collect();
    has_all(&labels, &matched).with_context(|| name.to_owned())?;
    Ok(labels)
}

fn has_all(labels: &BTreeSet<String>, named: &BTreeSet<String>) -> Result<()> {
    match named.difference(labels).next() {
        Some(label) => bail!("there is no label {label}, only {labels:?}"),
        None => Ok(()),
    }
}
