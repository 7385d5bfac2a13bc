//! The pass over the words: what drivers write that is no SQL.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::travel::{self, Travel};
use crate::error::{Error, ErrorKind, Result};

/// Functions that mean something else within `{fn ..}` than outside are called by this prefix.
pub(super) const ODBC: &str = "odbc_";
const OTHERWISE: [&str; 2] = ["concat", "log"];

pub(super) struct Plain {
    pub(super) tokens: Vec<TokenWithSpan>,
    pub(super) questions: usize,
    pub(super) travels: Vec<Travel>,
}

/// The words without `{fn F(..)}`, `{d '..'}`, `{t '..'}`, `{ts '..'}`, `{oj ..}`, `{escape '..'}` and `{limit n}`,
/// with `?` numbered as they stand, and tables of other moments under names of their own.
pub(super) fn plain(tokens: Vec<TokenWithSpan>) -> Result<Plain> {
    let tokens: Vec<TokenWithSpan> = tokens
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .collect();
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut questions = 0;
    let mut travels = Vec::new();
    // Whether each open brace is that of an escape.
    let mut open = Vec::new();
    let mut rest = tokens.as_slice();
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        match &token.token {
            Token::Placeholder(name) if name == "?" => {
                questions += 1;
                let numbered = Token::Placeholder(format!("${questions}"));
                out.push(TokenWithSpan::new(numbered, token.span));
            }
            Token::LBrace => match after.first().and_then(|next| escape(&next.token)) {
                Some(escape) => {
                    rest = &after[1..];
                    open.push(true);
                    match escape {
                        Escape::Call => return Err(no_procedures()),
                        Escape::Nothing => {}
                        Escape::Word(word) => out.push(placed(word, token)),
                        Escape::Function => {
                            if let Some((name, after)) = rest.split_first()
                                && let Some(renamed) = renamed(&name.token)
                            {
                                rest = after;
                                out.push(placed(&renamed, name));
                            }
                        }
                    }
                }
                None => {
                    open.push(false);
                    out.push(token.clone());
                }
            },
            Token::RBrace if open.pop() == Some(true) => {}
            Token::Word(word) if word.quote_style.is_none() => {
                match travel::read(word, after, &mut out, &mut travels)? {
                    Some(used) => rest = &after[used..],
                    None => out.push(token.clone()),
                }
            }
            _ => out.push(token.clone()),
        }
    }
    Ok(Plain {
        tokens: out,
        questions,
        travels,
    })
}

enum Escape {
    Function,
    Nothing,
    Word(&'static str),
    Call,
}

fn escape(token: &Token) -> Option<Escape> {
    let Token::Word(Word {
        value,
        quote_style: None,
        ..
    }) = token
    else {
        return None;
    };
    Some(match value.to_ascii_lowercase().as_str() {
        "fn" => Escape::Function,
        "d" => Escape::Word("DATE"),
        "t" => Escape::Word("TIME"),
        "ts" => Escape::Word("TIMESTAMP"),
        "oj" => Escape::Nothing,
        "escape" => Escape::Word("ESCAPE"),
        "limit" => Escape::Word("LIMIT"),
        "call" => Escape::Call,
        _ => return None,
    })
}

fn renamed(name: &Token) -> Option<String> {
    let Token::Word(word) = name else {
        return None;
    };
    let name = word.value.to_ascii_lowercase();
    OTHERWISE
        .contains(&name.as_str())
        .then(|| format!("{ODBC}{name}"))
}

fn placed(word: &str, token: &TokenWithSpan) -> TokenWithSpan {
    TokenWithSpan::new(Token::make_keyword(word), token.span)
}

fn no_procedures() -> Error {
    Error::new(ErrorKind::Unsupported, "there are no stored procedures").hint(
        "Write the query that you need; {fn ..}, {d ..}, {t ..}, {ts ..} and {oj ..} are read.",
    )
}

/// Whether a word is this one, unquoted.
pub(super) fn is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// Words after which no table's name stands.
pub(super) fn is_name(token: &Token) -> bool {
    match token {
        Token::Word(word) if word.quote_style.is_some() => true,
        Token::Word(word) => !matches!(
            word.keyword,
            Keyword::SELECT | Keyword::FROM | Keyword::JOIN | Keyword::BY | Keyword::DISTINCT
        ),
        _ => false,
    }
}
