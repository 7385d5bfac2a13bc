use sqlparser::tokenizer::{Location, Span};

/// A part of one line that knows where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    pub text: &'a str,
    start: Location,
}

impl<'a> Piece<'a> {
    pub fn new(text: &'a str, start: Location) -> Self {
        Self { text, start }
    }

    pub fn start(self) -> Location {
        self.start
    }

    pub fn span(self) -> Span {
        Span::new(self.start, self.location(self.text.len()))
    }

    /// The place just behind the piece.
    pub fn end(self) -> Location {
        self.location(self.text.len())
    }

    pub fn is_empty(self) -> bool {
        self.text.is_empty()
    }

    pub fn trim(self) -> Self {
        let lead = self.text.len() - self.text.trim_start().len();
        let piece = self.skip(lead);
        Self {
            text: piece.text.trim_end(),
            ..piece
        }
    }

    /// The leading characters that `accept` takes, and the rest.
    pub fn take_while(self, accept: impl Fn(char) -> bool) -> (Self, Self) {
        let end = self.text.find(|c| !accept(c)).unwrap_or(self.text.len());
        (self.keep(end), self.skip(end))
    }

    fn keep(self, end: usize) -> Self {
        Self {
            text: &self.text[..end],
            ..self
        }
    }

    fn skip(self, bytes: usize) -> Self {
        Self {
            text: &self.text[bytes..],
            start: self.location(bytes),
        }
    }

    fn location(self, bytes: usize) -> Location {
        let characters = self.text[..bytes].chars().count() as u64;
        Location::new(self.start.line, self.start.column + characters)
    }
}
