//! An answer as a tree of elements, and its text.
//!
//! The query protocol's answers have no attributes but the root's name space
//! and no mixed content, so an element is a name with a text or with children.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

/// One element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    name: &'static str,
    text: Option<String>,
    children: Vec<Element>,
}

impl Element {
    /// An empty element.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            text: None,
            children: Vec::new(),
        }
    }

    /// An element with a text.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers and addresses are written as they are, without a & at each"
    )]
    pub fn of(name: &'static str, text: impl ToString) -> Self {
        Self {
            text: Some(text.to_string()),
            ..Self::new(name)
        }
    }

    /// With one more child that has a text.
    #[must_use]
    pub fn with(self, name: &'static str, text: impl ToString) -> Self {
        self.child(Self::of(name, text))
    }

    /// With one more child, if there is a text for it.
    #[must_use]
    pub fn maybe(self, name: &'static str, text: Option<impl ToString>) -> Self {
        match text {
            Some(text) => self.with(name, text),
            None => self,
        }
    }

    /// With one more child.
    #[must_use]
    pub fn child(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    /// With several more children.
    #[must_use]
    pub fn children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children);
        self
    }

    /// With a list as EC2 writes it: `<name><item>…</item>…</name>`.
    #[must_use]
    pub fn list(self, name: &'static str, items: impl IntoIterator<Item = Element>) -> Self {
        self.child(Self::new(name).children(items))
    }

    /// The first element at a path of names below this one.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |at, name| {
            at.children.iter().find(|child| child.name == name)
        })
    }

    /// The text at a path of names below this one.
    pub fn text_at(&self, path: &str) -> Option<&str> {
        self.at(path)?.text.as_deref()
    }

    /// Every element at a path of names, through all of the lists on its way.
    pub fn all<'a>(&'a self, path: &str) -> Vec<&'a Self> {
        path.split('/').fold(vec![self], |level, name| {
            level
                .into_iter()
                .flat_map(|at| at.children.iter().filter(move |child| child.name == name))
                .collect()
        })
    }

    /// The texts of [`Element::all`].
    pub fn texts(&self, path: &str) -> Vec<&str> {
        self.all(path)
            .into_iter()
            .filter_map(|at| at.text.as_deref())
            .collect()
    }

    /// The document with this root in a name space.
    ///
    /// # Errors
    /// None in practice: it writes to memory.
    pub fn document(&self, namespace: Option<&str>) -> io::Result<Vec<u8>> {
        let mut writer = Writer::new(Vec::new());
        writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        self.write(&mut writer, namespace)?;
        Ok(writer.into_inner())
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>, namespace: Option<&str>) -> io::Result<()> {
        let mut element = writer.create_element(self.name);
        if let Some(namespace) = namespace {
            element = element.with_attribute(("xmlns", namespace));
        }
        match &self.text {
            Some(text) => {
                element.write_text_content(BytesText::new(text))?;
            }
            None if self.children.is_empty() => {
                element.write_empty()?;
            }
            None => {
                element.write_inner_content(|writer| {
                    self.children
                        .iter()
                        .try_for_each(|child| child.write(writer, None))
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_lists_are_items() {
        let answer = Element::new("R")
            .with("a", "<&>")
            .list("set", [Element::of("item", 1), Element::of("item", 2)]);
        let text = String::from_utf8(answer.document(Some("urn:x")).unwrap()).unwrap();
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><R xmlns=\"urn:x\"><a>&lt;&amp;&gt;</a>\
             <set><item>1</item><item>2</item></set></R>"
        );
        assert_eq!(answer.texts("set/item"), ["1", "2"]);
    }
}
