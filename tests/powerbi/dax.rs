//! The references of a DAX expression, by its words: texts, comments, names in quotes and brackets.

/// What an expression names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reference {
    /// `'table'[name]`
    Qualified(String, String),
    /// `[name]`
    Bare(String),
    /// `'table'`
    Table(String),
    /// `SUM (`
    Function(String),
}

#[derive(Debug)]
enum Word {
    Quoted(String),
    Bracketed(String),
    Name(String),
    Sign(char),
    Value,
}

pub(super) fn references(dax: &str) -> Result<Vec<Reference>, String> {
    let words = words(dax)?;
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let next = words.get(at + 1);
        at += 1;
        let table = match word {
            Word::Bracketed(name) => {
                found.push(Reference::Bare(name.clone()));
                continue;
            }
            Word::Name(name) if matches!(next, Some(Word::Sign('('))) => {
                found.push(Reference::Function(name.to_uppercase()));
                continue;
            }
            Word::Quoted(name) | Word::Name(name) => name.clone(),
            Word::Sign(_) | Word::Value => continue,
        };
        if let Some(Word::Bracketed(column)) = next {
            found.push(Reference::Qualified(table, column.clone()));
            at += 1;
        } else {
            found.push(Reference::Table(table));
        }
    }
    Ok(found)
}

fn words(dax: &str) -> Result<Vec<Word>, String> {
    let mut letters = dax.chars().peekable();
    let mut words = Vec::new();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => words.push(Word::Quoted(until(&mut letters, '\'')?)),
            '[' => words.push(Word::Bracketed(until(&mut letters, ']')?)),
            '"' => {
                until(&mut letters, '"')?;
                words.push(Word::Value);
            }
            '/' if letters.peek() == Some(&'/') => skip_line(&mut letters),
            '-' if letters.peek() == Some(&'-') => skip_line(&mut letters),
            '/' if letters.next_if_eq(&'*').is_some() => {
                let mut before = ' ';
                loop {
                    let letter = letters.next().ok_or("a comment is not closed")?;
                    if before == '*' && letter == '/' {
                        break;
                    }
                    before = letter;
                }
            }
            _ if letter.is_whitespace() => {}
            _ if letter.is_numeric() => {
                while letters
                    .next_if(|next| next.is_numeric() || *next == '.')
                    .is_some()
                {}
                words.push(Word::Value);
            }
            _ if letter.is_alphabetic() || letter == '_' => {
                let mut name = letter.to_string();
                while let Some(next) =
                    letters.next_if(|next| next.is_alphanumeric() || matches!(next, '_' | '.'))
                {
                    name.push(next);
                }
                words.push(Word::Name(name));
            }
            _ => words.push(Word::Sign(letter)),
        }
    }
    Ok(words)
}

fn skip_line(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while letters.next_if(|&letter| letter != '\n').is_some() {}
}

/// Up to the closing sign; doubled it stands for itself.
fn until(
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    end: char,
) -> Result<String, String> {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        if letter != end {
            text.push(letter);
        } else if letters.next_if_eq(&end).is_some() {
            text.push(end);
        } else {
            return Ok(text);
        }
    }
    Err(format!("no closing {end}"))
}

#[test]
fn references_are_read_by_words() {
    let dax = r#"DIVIDE ( SUM ( 'Coût''s'[a]]b] ), [m] ) // 'x'[y]
        + COUNTROWS ( BU ) /* [z] */ & "'t'[u]" -- [v]"#;
    let qualified = |table: &str, name: &str| Reference::Qualified(table.into(), name.into());
    let function = |name: &str| Reference::Function(name.into());
    assert_eq!(
        references(dax).expect("words"),
        [
            function("DIVIDE"),
            function("SUM"),
            qualified("Coût's", "a]b"),
            Reference::Bare("m".into()),
            function("COUNTROWS"),
            Reference::Table("BU".into()),
        ]
    );
    assert!(references("SUM ( 'open[a] )").is_err());
}
