use std::io::{IsTerminal, Read};

use engine::{Error, Result};

/// Longest password that is read, bytes.
const LONGEST: u64 = 4096;

const VARIABLE: &str = "SPORTLAKE_PASSWORD";

/// A password on its way to its hash; it has no `Debug`.
pub(super) struct Secret(String);

impl Secret {
    /// From the environment, standard input, or whoever sits at the terminal, asked twice. Never from an argument:
    /// other users of the machine see those.
    pub(super) fn read(user: &str) -> Result<Self> {
        if let Ok(text) = std::env::var(VARIABLE) {
            return Ok(Self(text));
        }
        if !std::io::stdin().is_terminal() {
            let mut text = String::new();
            let read = std::io::stdin().take(LONGEST).read_to_string(&mut text);
            read.map_err(|error| unreadable().caused_by(error))?;
            return Ok(Self(text.trim_end_matches(['\n', '\r']).to_owned()));
        }
        let ask = |prompt: String| {
            rpassword::prompt_password(prompt).map_err(|error| unreadable().caused_by(error))
        };
        let first = ask(format!("Password of {user}: "))?;
        let second = ask("The same again: ".to_owned())?;
        match first == second {
            true => Ok(Self(first)),
            false => Err(Error::invalid("the two passwords differ")),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

fn unreadable() -> Error {
    Error::invalid("the password cannot be read").hint(format!(
        "Type it, send it on standard input, or set {VARIABLE}."
    ))
}
