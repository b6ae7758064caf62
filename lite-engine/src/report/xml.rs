//! XML as a stream of elements and text, within limits.

use std::io::{self, BufRead, BufReader, Read};

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

use super::Limits;

/// Characters kept of a text: its last ones.
const TEXT_MAX: usize = 8_000;

/// Characters kept of a name: its last ones.
const NAME_MAX: usize = 300;

/// An XML file could not be read further. No words of the file are in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum XmlError {
    #[error("is not well-formed XML near byte {0}")]
    Malformed(u64),
    #[error("breaks off at its end")]
    BreaksOff,
    #[error("nests elements deeper than {0}")]
    Deep(usize),
    #[error("has more than {0} bytes in one piece, or the files have too many in all")]
    Large(usize),
    #[error("is not a report of this kind: its first element is another")]
    OtherRoot,
    #[error("could not be read: {0}")]
    Read(io::ErrorKind),
}

/// What follows in a document.
#[derive(Debug)]
pub(super) enum Item {
    /// An element begins; its name is without a prefix.
    Start(Element),
    /// An element ends.
    End,
    /// The document is over.
    Over,
}

/// The beginning of an element.
#[derive(Debug)]
pub(super) struct Element(BytesStart<'static>);

impl Element {
    pub(super) fn name(&self) -> &str {
        self.0.local_name().into_inner()
    }

    /// The value of an attribute that is a name or a figure, its end if it is
    /// long; empty where there is none.
    pub(super) fn attribute(&self, name: &str) -> String {
        last_characters(&self.text_attribute(name), NAME_MAX).to_owned()
    }

    /// The value of an attribute that is a text, in the same way.
    pub(super) fn text_attribute(&self, name: &str) -> String {
        let found = self
            .0
            .attributes()
            .with_checks(false)
            .filter_map(Result::ok)
            .find(|attribute| attribute.key.local_name().into_inner() == name);
        found.map_or_else(String::new, |attribute| {
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                // An entity of the file's own stands as it is written.
                .unwrap_or(attribute.value);
            last_characters(&value, TEXT_MAX).to_owned()
        })
    }
}

/// A document that is read from its beginning to its end.
pub(super) struct Document<R: Read> {
    reader: quick_xml::Reader<Allowance<BufReader<R>>>,
    buffer: Vec<u8>,
    text: Tail,
    limits: Limits,
    depth: usize,
    /// An element without content was begun and has to end.
    empty: bool,
}

impl<R: Read> Document<R> {
    pub(super) fn new(from: R, limits: Limits, left: u64) -> Self {
        let mut reader = quick_xml::Reader::from_reader(Allowance {
            inner: BufReader::with_capacity(64 * 1024, from),
            piece: 0,
            all: left,
            spent: false,
        });
        let config = reader.config_mut();
        config.allow_dangling_amp = true;
        Self {
            reader,
            buffer: Vec::new(),
            text: Tail::default(),
            limits,
            depth: 0,
            empty: false,
        }
    }

    /// Bytes that may still be read.
    pub(super) fn left(&self) -> u64 {
        self.reader.get_ref().all
    }

    /// How many elements are open.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// The text since the last element began or this was called, its end if it is long.
    pub(super) fn take_text(&mut self) -> String {
        self.text.take()
    }

    /// The next beginning or end of an element. Text in between is kept for [`Document::take_text`].
    pub(super) fn next(&mut self) -> Result<Item, XmlError> {
        if std::mem::take(&mut self.empty) {
            self.depth -= 1;
            return Ok(Item::End);
        }
        loop {
            self.buffer.clear();
            self.buffer.shrink_to(64 * 1024);
            self.reader.get_mut().piece = self.limits.piece;
            let position = self.reader.buffer_position();
            let event = match self.reader.read_event_into(&mut self.buffer) {
                Ok(event) => event,
                Err(error) => return Err(self.what_failed(&error, position)),
            };
            match event {
                Event::Text(text) => self.text.push(&text.xml10_content()),
                Event::CData(text) => self.text.push(&text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().ok().flatten();
                    if let Some(character) = character {
                        self.text.push(character.encode_utf8(&mut [0; 4]));
                    } else if let Some(text) = resolve_predefined_entity(&reference) {
                        self.text.push(text);
                    }
                }
                Event::Start(_) | Event::Empty(_) if self.depth == self.limits.depth => {
                    return Err(XmlError::Deep(self.limits.depth));
                }
                Event::Start(element) => {
                    self.depth += 1;
                    self.text.clear();
                    return Ok(Item::Start(Element(element.into_owned())));
                }
                Event::Empty(element) => {
                    self.depth += 1;
                    self.empty = true;
                    self.text.clear();
                    return Ok(Item::Start(Element(element.into_owned())));
                }
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(Item::End);
                }
                Event::Eof if self.depth > 0 => return Err(XmlError::BreaksOff),
                Event::Eof => return Ok(Item::Over),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }

    /// Leaves the element that was just begun, with all that is in it.
    pub(super) fn skip(&mut self) -> Result<(), XmlError> {
        let outside = self.depth - 1;
        while self.depth > outside {
            if matches!(self.next()?, Item::Over) {
                return Err(XmlError::BreaksOff);
            }
        }
        Ok(())
    }

    fn what_failed(&self, error: &quick_xml::Error, position: u64) -> XmlError {
        if self.reader.get_ref().spent {
            return XmlError::Large(self.limits.piece);
        }
        match error {
            quick_xml::Error::Io(error) => XmlError::Read(error.kind()),
            quick_xml::Error::Syntax(_) => XmlError::BreaksOff,
            _ => XmlError::Malformed(position),
        }
    }
}

/// Lets so many bytes through, for a piece and in all.
struct Allowance<R> {
    inner: R,
    piece: usize,
    all: u64,
    spent: bool,
}

impl<R: BufRead> BufRead for Allowance<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let most = usize::try_from(self.all)
            .unwrap_or(usize::MAX)
            .min(self.piece);
        let bytes = self.inner.fill_buf()?;
        if most == 0 && !bytes.is_empty() {
            self.spent = true;
            return Err(io::Error::other("the allowance is spent"));
        }
        Ok(&bytes[..bytes.len().min(most)])
    }

    fn consume(&mut self, count: usize) {
        self.piece = self.piece.saturating_sub(count);
        self.all = self.all.saturating_sub(count as u64);
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for Allowance<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

/// The end of a text.
#[derive(Default)]
struct Tail(String);

impl Tail {
    fn push(&mut self, text: &str) {
        self.0.push_str(last_characters(text, TEXT_MAX));
        if self.0.len() > 8 * TEXT_MAX {
            self.0 = last_characters(&self.0, TEXT_MAX).to_owned();
        }
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn take(&mut self) -> String {
        let text = std::mem::take(&mut self.0);
        last_characters(&text, TEXT_MAX).to_owned()
    }
}

fn last_characters(text: &str, most: usize) -> &str {
    let start = text.char_indices().rev().nth(most - 1);
    &text[start.map_or(0, |(at, _)| at)..]
}
