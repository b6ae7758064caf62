//! What a template asks for, found without running it: also in the branches
//! that this pool does not take.
//!
//! The library that runs templates finds a name that it does not know only
//! where it comes past it, and then can't say in which line.

use std::collections::BTreeSet;

use gotmpl::parse::{BranchNode, Expr, ListNode, Node, PipeNode, Pos};
use serde_json::{Map, Value};

use super::{Secrets, TemplateError, parse};

/// The incumbent's functions.
pub(super) const BASE64: &str = "base64";
pub(super) const TRIM: &str = "trim";

/// All functions: Go's own, and the incumbent's.
const FUNCTIONS: [&str; 21] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or",
    "print", "printf", "println", "slice", "urlquery", BASE64, TRIM,
];

/// No template has it; it stands behind the whole text.
const BEHIND: &str = "\u{0}vmpool";

/// Refuses blocks that are not closed, and an end or an else of none. The
/// library closes the ones at the text's end, and takes the others for the
/// text's end.
pub(super) fn blocks(source: &str) -> Result<(), TemplateError> {
    let template = parse(&format!("{source}{BEHIND}"), Secrets::Shown)?;
    let nodes = template.lookup(template.name());
    let last = nodes.and_then(|list| list.nodes.last());
    let line = match last {
        Some(Node::Text(text)) if text.text.ends_with(BEHIND) => return Ok(()),
        Some(Node::Text(text)) => text.pos.line,
        Some(Node::Action(action)) => action.pos.line,
        Some(Node::If(block) | Node::Range(block) | Node::With(block)) => block.pos.line,
        _ => 1,
    };
    let reason = "a block from here on has no {{ end }}, or an {{ end }} or {{ else }} no block";
    Err(TemplateError::Syntax {
        line,
        reason: reason.to_owned(),
    })
}

/// All names that a template asks for: of variables, and of what may be ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Asked {
    names: BTreeSet<String>,
    /// `.Platform.Arch`, not `.Platform`.
    fields_of: BTreeSet<String>,
}

impl Asked {
    /// What `template` asks for.
    ///
    /// # Errors
    /// A variable that is not in `known`, or a function that nobody has.
    pub(super) fn of(
        template: &gotmpl::Template,
        known: &Map<String, Value>,
    ) -> Result<Self, TemplateError> {
        let mut walk = Walk {
            known,
            asked: Self::default(),
            top: true,
        };
        if let Some(tree) = template.lookup(template.name()) {
            walk.list(tree, Dot::Variables)?;
        }
        walk.top = false;
        for name in template.templates() {
            if name != template.name()
                && let Some(tree) = template.lookup(name)
            {
                // What it is called with is seen when it is run.
                walk.list(tree, Dot::Other)?;
            }
        }
        Ok(walk.asked)
    }

    /// Whether the variable of that name is asked for.
    pub(super) fn for_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether a field of the variable of that name is asked for.
    pub(super) fn for_fields_of(&self, name: &str) -> bool {
        self.fields_of.contains(name)
    }
}

/// What `.` is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dot {
    /// All variables: at the top.
    Variables,
    /// What a `with`, a `range` or a call makes of it.
    Other,
}

struct Walk<'a> {
    known: &'a Map<String, Value>,
    asked: Asked,
    /// Not in what a template calls: `$` is all variables.
    top: bool,
}

impl Walk<'_> {
    fn list(&mut self, list: &ListNode, dot: Dot) -> Result<(), TemplateError> {
        for node in &list.nodes {
            self.node(node, dot)?;
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: Dot) -> Result<(), TemplateError> {
        match node {
            Node::List(list) => self.list(list, dot),
            Node::Action(action) => self.pipe(&action.pipe, dot),
            Node::If(branch) => self.branch(branch, dot, dot),
            Node::Range(branch) | Node::With(branch) => self.branch(branch, dot, Dot::Other),
            Node::Template(call) => match &call.pipe {
                Some(pipe) => self.pipe(pipe, dot),
                None => Ok(()),
            },
            Node::Define(define) => self.list(&define.body, Dot::Other),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
        }
    }

    fn branch(&mut self, branch: &BranchNode, dot: Dot, inside: Dot) -> Result<(), TemplateError> {
        self.pipe(&branch.pipe, dot)?;
        self.list(&branch.body, inside)?;
        match &branch.else_body {
            Some(otherwise) => self.list(otherwise, dot),
            None => Ok(()),
        }
    }

    fn pipe(&mut self, pipe: &PipeNode, dot: Dot) -> Result<(), TemplateError> {
        let commands = pipe.commands.iter();
        for expression in commands.flat_map(|command| &command.args) {
            self.expression(expression, dot)?;
        }
        Ok(())
    }

    fn expression(&mut self, expression: &Expr, dot: Dot) -> Result<(), TemplateError> {
        match expression {
            Expr::Field(at, chain) => self.field(*at, chain, dot == Dot::Variables),
            Expr::Variable(at, name, chain) => self.field(*at, chain, self.top && name == "$"),
            Expr::Identifier(at, name) => {
                if FUNCTIONS.contains(&name.as_str()) {
                    return Ok(());
                }
                let meant = nearest(name, FUNCTIONS).map(str::to_owned);
                Err(unknown(*at, "function ", name, meant))
            }
            // `index . "TLSKey"`.
            Expr::String(_, text) => {
                self.asked.names.insert(text.to_string());
                Ok(())
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe, dot),
            Expr::Chain(_, inner, _) => self.expression(inner, dot),
            Expr::Dot(_) | Expr::Number(..) | Expr::Bool(..) | Expr::Nil(_) => Ok(()),
        }
    }

    fn field<S: AsRef<str>>(
        &mut self,
        at: Pos,
        chain: &[S],
        of_variables: bool,
    ) -> Result<(), TemplateError> {
        let Some((first, rest)) = chain.split_first() else {
            return Ok(());
        };
        self.asked.names.insert(first.as_ref().to_owned());
        if !rest.is_empty() {
            self.asked.fields_of.insert(first.as_ref().to_owned());
        }
        if !of_variables {
            return Ok(());
        }
        let mut fields = Some(self.known);
        let mut path = String::new();
        for name in chain.iter().map(AsRef::as_ref) {
            let Some(variable) = fields.and_then(|fields| fields.get(name)) else {
                let known = fields.into_iter().flat_map(Map::keys);
                let meant = nearest(name, known.map(String::as_str));
                let meant = meant.map(|meant| format!("{path}.{meant}"));
                return Err(unknown(at, "", &format!("{path}.{name}"), meant));
            };
            fields = variable.as_object();
            path = format!("{path}.{name}");
        }
        Ok(())
    }
}

fn unknown(at: Pos, kind: &'static str, name: &str, meant: Option<String>) -> TemplateError {
    TemplateError::Unknown {
        line: at.line,
        kind,
        name: name.to_owned(),
        meant,
    }
}

/// The known name that was most likely meant: about a third of it may differ.
fn nearest<'n>(given: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let most = (given.chars().count() / 3).min(3);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(given, name), name))
        .filter(|&(distance, _)| distance <= most)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}
