//! Start-up templates of the operator's own, in the language of Go's
//! `text/template`, with the incumbent's variables and helpers.
//!
//! A template brings up one of two agents. Asked for `CACert`, `TLSCert` or
//! `TLSKey`, it is given those of a throw-away CA of one machine, and its agent
//! speaks the incumbent's protocol (DESIGN §7): its key stands in the user data.
//! Asked for `Request`, it is given what our agent starts from, and all holds
//! that holds without a template.
//!
//! Everything that can be wrong with a template is found when it is read:
//! [`UserTemplate::new`] also fills it in once, for an order that never is.

mod check;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gotmpl::{MissingKey, TemplateError as Failure, Value};
use lite_engine::supervisor::Request;
use serde_json::Map;
use vmpool_core::agent::{Bootstrap, Clocks};
use vmpool_core::{Attempt, OrderDraft, OrderId, Secret, SecretBytes, Tags, Timestamp};

use self::check::{Asked, BASE64, TRIM};
use super::{NOT_SHOWN, Secrets, TooLarge, sent};

/// Largest template, in bytes; comments in it cost a machine nothing.
const MOST_TEMPLATE: usize = 64 * 1024;
/// Most that is made of one, in bytes, before it is compressed.
const MOST_RENDERED: usize = 256 * 1024;
/// Most turns of all its loops together.
const MOST_TURNS: u64 = 10_000;

/// The variables that are one machine's.
const CA_CERT: &str = "CACert";
const TLS_CERT: &str = "TLSCert";
const TLS_KEY: &str = "TLSKey";
/// What our own agent starts from.
const REQUEST: &str = "Request";
/// An operating system by its name, or all that the pool says of it.
const PLATFORM: &str = "Platform";

/// What a machine of the incumbent's scheme is born with.
#[derive(Debug, Clone)]
pub struct BornWith {
    /// The certificate of its CA, PEM.
    pub ca_pem: String,
    /// Its agent's certificate, PEM.
    pub cert_pem: String,
    /// Its agent's key, PEM.
    pub key_pem: Secret,
}

/// Makes what the one machine of an order is born with. The same order has the
/// same keys.
pub type Births = fn(&Bootstrap) -> Result<BornWith, Box<dyn Error + Send + Sync>>;

/// A start-up template that can be filled in.
#[derive(Clone)]
pub struct UserTemplate {
    source: Arc<str>,
    variables: Map<String, serde_json::Value>,
    clocks: Clocks,
    births: Births,
    asked: Asked,
}

/// Why a template can't be used. Lines are the template's, from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It is longer than what is read.
    #[error("{bytes} bytes are more than the {MOST_TEMPLATE} that a template may have")]
    Long {
        /// Its length.
        bytes: usize,
    },
    /// It is none of Go's templates.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Where.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// It asks for what there is not.
    #[error("line {line}: {kind}{name} is not known{}", meant.as_ref().map(|name| format!(", did you mean {name}?")).unwrap_or_default())]
    Unknown {
        /// Where.
        line: usize,
        /// `function `, or nothing for a variable.
        kind: &'static str,
        /// What it asks for.
        name: String,
        /// The nearest name that is known.
        meant: Option<String>,
    },
    /// It can't be filled in.
    #[error("fill it in: {reason}")]
    Fails {
        /// What is wrong.
        reason: String,
    },
    /// What is made of it is too long to be looked at.
    #[error("more than {MOST_RENDERED} bytes come of it")]
    Endless,
    /// What is made of it is more than EC2 takes.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// No agent could prove who it is.
    #[error("it uses neither .{TLS_KEY} nor .{REQUEST}: no agent that it starts could be known")]
    Nobody,
    /// What a machine is born with can't be made.
    #[error("make what a machine is born with")]
    Birth(#[source] Box<dyn Error + Send + Sync>),
    /// What our agent starts from can't be made.
    #[error("make what an agent starts from")]
    Request(#[source] Box<dyn Error + Send + Sync>),
}

impl UserTemplate {
    /// Reads a template. `variables` are those that all machines of the pool
    /// have alike, by their names without the dot; `births` makes the others.
    ///
    /// # Errors
    /// It could not be filled in.
    pub fn new(
        source: &str,
        variables: Map<String, serde_json::Value>,
        clocks: Clocks,
        births: Births,
    ) -> Result<Self, TemplateError> {
        let bytes = source.len();
        if bytes > MOST_TEMPLATE {
            return Err(TemplateError::Long { bytes });
        }
        check::blocks(source)?;
        let mut known = variables.clone();
        for name in [CA_CERT, TLS_CERT, TLS_KEY, REQUEST] {
            known.insert(name.to_owned(), serde_json::Value::Null);
        }
        let asked = Asked::of(&parse(source, Secrets::Shown)?, &known)?;
        if !asked.for_name(TLS_KEY) && !asked.for_name(REQUEST) {
            return Err(TemplateError::Nobody);
        }
        let template = Self {
            source: source.into(),
            variables,
            clocks,
            births,
            asked,
        };
        sent(&template.example(Secrets::Shown)?)?;
        Ok(template)
    }

    /// Its machines have agents that speak the incumbent's protocol, each with
    /// a key of its own: an order is for one machine.
    pub fn is_incumbents(&self) -> bool {
        [CA_CERT, TLS_CERT, TLS_KEY]
            .iter()
            .any(|name| self.asked.for_name(name))
    }

    /// What a machine of an order that never is would be given.
    ///
    /// # Errors
    /// It can't be filled in.
    pub fn example(&self, secrets: Secrets) -> Result<String, TemplateError> {
        let (tags, bootstrap) = example();
        self.fill(&tags, &bootstrap, secrets)
    }

    pub(super) fn render(
        &self,
        draft: &OrderDraft<'_>,
        secrets: Secrets,
    ) -> Result<String, TemplateError> {
        self.fill(draft.tags, draft.bootstrap, secrets)
    }

    pub(super) fn identity(&self) -> String {
        let variables = serde_json::Value::Object(self.variables.clone());
        format!("{}\n{variables}\n{:?}", self.source, self.clocks)
    }

    fn fill(
        &self,
        tags: &Tags,
        bootstrap: &Bootstrap,
        secrets: Secrets,
    ) -> Result<String, TemplateError> {
        let mut variables = self.variables.clone();
        let shown = |secret: &str| match secrets {
            Secrets::Shown => secret.into(),
            Secrets::Hidden => NOT_SHOWN.into(),
        };
        if self.is_incumbents() {
            let born = (self.births)(bootstrap).map_err(TemplateError::Birth)?;
            variables.insert(CA_CERT.to_owned(), born.ca_pem.into());
            variables.insert(TLS_CERT.to_owned(), born.cert_pem.into());
            variables.insert(TLS_KEY.to_owned(), shown(born.key_pem.expose()));
        }
        if self.asked.for_name(REQUEST) {
            let request = request(tags, bootstrap, self.clocks)?;
            variables.insert(REQUEST.to_owned(), shown(&request));
        }
        if !self.asked.for_fields_of(PLATFORM)
            && let Some(serde_json::Value::Object(platform)) = variables.get(PLATFORM)
        {
            let system = platform.get("OS").cloned().unwrap_or_default();
            variables.insert(PLATFORM.to_owned(), system);
        }
        let fails = |error: Failure| TemplateError::Fails {
            reason: error.to_string(),
        };
        let data = value(&serde_json::Value::Object(variables));
        let mut text = Bounded(String::new());
        match parse(&self.source, secrets)?.execute_fmt(&mut text, &data) {
            Ok(()) => Ok(text.0),
            Err(Failure::Write) => Err(TemplateError::Endless),
            Err(error) => Err(fails(error)),
        }
    }
}

/// Shows no value: addresses may hold passwords.
impl fmt::Debug for UserTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserTemplate")
            .field("bytes", &self.source.len())
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

/// The same template with the same values; where keys come from does not count.
impl PartialEq for UserTemplate {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, &self.variables, self.clocks)
            == (&other.source, &other.variables, other.clocks)
    }
}

impl Eq for UserTemplate {}

fn parse(source: &str, secrets: Secrets) -> Result<gotmpl::Template, TemplateError> {
    let encode = move |text: &str| {
        if secrets == Secrets::Hidden && text.contains(NOT_SHOWN) {
            return text.to_owned();
        }
        STANDARD.encode(text)
    };
    let template = gotmpl::Template::new("user_data")
        .missing_key(MissingKey::Error)
        .max_range_iters(MOST_TURNS)
        .func(BASE64, move |args| on_text(BASE64, args, encode))
        .func(TRIM, |args| {
            on_text(TRIM, args, |text| text.trim().to_owned())
        });
    template.parse(source).map_err(|error| match error {
        Failure::Parse { line, message, .. } | Failure::Lex { line, message, .. } => {
            TemplateError::Syntax {
                line,
                reason: message,
            }
        }
        error => TemplateError::Fails {
            reason: error.to_string(),
        },
    })
}

/// A variable as templates have it; numbers and lists are none of theirs.
fn value(variable: &serde_json::Value) -> Value {
    match variable {
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::String(text) => Value::String(text.as_str().into()),
        serde_json::Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, field)| (name.as_str().into(), value(field)));
            Value::Map(Arc::new(fields.collect()))
        }
        _ => Value::Nil,
    }
}

/// A helper that makes a text of one text.
fn on_text(name: &str, args: &[Value], make: impl Fn(&str) -> String) -> Result<Value, Failure> {
    match args {
        [Value::String(text)] => Ok(Value::String(make(text).into())),
        [other] => Err(Failure::Exec(format!(
            "{name} is for texts, not for a value of type {}",
            other.type_name()
        ))),
        _ => Err(Failure::ArgCount {
            name: name.to_owned(),
            expected: 1,
            got: args.len(),
        }),
    }
}

fn request(tags: &Tags, bootstrap: &Bootstrap, clocks: Clocks) -> Result<String, TemplateError> {
    let request = Request {
        tags: tags.clone(),
        bootstrap: Bootstrap {
            clocks,
            ..bootstrap.clone()
        },
        program: None,
    };
    let bytes = request.to_bytes();
    let bytes = bytes.map_err(|error| TemplateError::Request(error.into()))?;
    let text = String::from_utf8(bytes.expose().to_vec());
    text.map_err(|error| TemplateError::Request(error.utf8_error().into()))
}

/// What an order that never is would have: as long as a real one's.
fn example() -> (Tags, Bootstrap) {
    let order = OrderId::new("00000000-0000-7000-8000-000000000000");
    let attempt = Attempt(1);
    let tags = Tags {
        owner: "example".into(),
        deployment: "00000000-0000-4000-8000-000000000000".into(),
        pool: "example".into(),
        order: order.clone(),
        attempt,
        expires_at: Timestamp(0),
    };
    let bootstrap = Bootstrap {
        order,
        attempt,
        ca_pem: String::new(),
        runner_name: "runner.example.vmpool".to_owned(),
        secret: SecretBytes::new(*b"of an order that will never be.."),
        clocks: Clocks::default(),
    };
    (tags, bootstrap)
}

/// Takes [`MOST_RENDERED`] bytes.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MOST_RENDERED {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}
