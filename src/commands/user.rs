mod secret;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use engine::{Error, ErrorKind, policies};
use flight_server::{TicketKey, User, Users, certificate_fingerprint, hash_password, issue_token};
use serde_json::json;

use self::secret::Secret;
use super::Context;
use crate::config::Config;
use crate::output::{self, Format};

/// Say who may sign in to the Flight SQL endpoint, and with which roles
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake user add anne --role manager --attribute bu=Marketing
  sportlake user list
  sportlake user token anne --label grafana --days 90")]
pub(crate) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(Add),
    List(List),
    Remove(Remove),
    Token(Token),
}

/// Add a user; the password is asked for, or comes on standard input
///
/// The first user ends anonymous access: restart a server that runs without users.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake user add anne --role manager --attribute bu=Marketing
  pass show sportlake/anne | sportlake user add anne --role rh --replace
  sportlake user add etl --role rh --no-password --certificate etl.pem")]
struct Add {
    name: String,

    /// A role of policies.sql; without one the user sees nothing
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,

    /// What row policies know about the user, as bu=Marketing
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,

    /// Change a user that is there already, and take back its tokens
    #[arg(long)]
    replace: bool,

    /// The user signs in by a token or a certificate alone
    #[arg(long)]
    no_password: bool,

    /// A client certificate (PEM) that signs the user in by itself
    #[arg(long, value_name = "FILE")]
    certificate: Option<String>,

    /// Check everything, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// List the users, their roles and attributes
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake user list --output csv")]
struct List {
    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Remove a user, and with it its tokens
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake user remove anne")]
struct Remove {
    name: String,

    /// Check everything, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Give a user a token for a client that cannot ask for a password, list the tokens, or take them back
///
/// The token is printed once, and kept nowhere. It stands in the place of the password, or is sent as a bearer.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake user token anne --label grafana --days 90
  sportlake user token anne --list
  sportlake user token anne --revoke 3f2a9c0d51b7e684
  sportlake user token anne --revoke-all")]
struct Token {
    name: String,

    /// What the token is for
    #[arg(long, default_value = "")]
    label: String,

    /// Days until it expires
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(i64).range(1..=3650))]
    days: i64,

    /// List the tokens that are good
    #[arg(long, conflicts_with_all = ["revoke", "revoke_all"])]
    list: bool,

    /// Take back one token
    #[arg(long, value_name = "ID", conflicts_with = "revoke_all")]
    revoke: Option<String>,

    /// Take back all tokens, those of sessions too
    #[arg(long)]
    revoke_all: bool,

    /// Check everything, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = &context.config;
        match self.action {
            Action::Add(add) => add.run(config)?,
            Action::List(list) => list.run(config)?,
            Action::Remove(remove) => remove.run(config)?,
            Action::Token(token) => token.run(config, (context.clock)().timestamp())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Add {
    fn run(self, config: &Config) -> anyhow::Result<()> {
        let known = policies::roles(&config.sql.path);
        if let Some(role) = self.roles.iter().find(|role| !known.contains(role)) {
            return Err(unknown_role(role, &known).into());
        }
        let path = Path::new(&config.flight.users);
        let mut users = Users::load(path)?.unwrap_or_default();
        let before = users.find(&self.name);
        if before.is_some() && !self.replace {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("there is a user \"{}\" already", self.name),
            )
            .hint("Change it with --replace.")
            .into());
        }
        let certificate = self.certificate.as_deref().map(Path::new);
        let certificate = certificate.map(certificate_fingerprint).transpose()?;
        let generation = before.map_or(0, |before| before.generation + 1);
        let password = match self.no_password {
            true => None,
            false => Some(hash_password(Secret::read(&self.name)?.text())?),
        };
        users.add(User {
            name: self.name.clone(),
            password,
            certificate,
            generation,
            roles: self.roles,
            attributes: self.attributes.into_iter().collect::<BTreeMap<_, _>>(),
            tokens: Vec::new(),
        })?;
        if self.dry_run {
            output::note(&format!(
                "\"{}\" would be written to \"{}\"",
                self.name,
                path.display()
            ));
            return Ok(());
        }
        users.store(path)?;
        output::note(&format!("\"{}\" may sign in", self.name));
        Ok(())
    }
}

impl List {
    fn run(self, config: &Config) -> anyhow::Result<()> {
        let users = Users::load(Path::new(&config.flight.users))?.unwrap_or_default();
        if self.output == Format::Json {
            let users: Vec<_> = users
                .iter()
                .map(|user| {
                    json!({
                        "name": user.name,
                        "roles": user.roles,
                        "attributes": user.attributes,
                        "password": user.password.is_some(),
                        "certificate": user.certificate,
                        "tokens": user.tokens.len(),
                    })
                })
                .collect();
            return output::json(&users);
        }
        let rows: Vec<Vec<String>> = users.iter().map(row).collect();
        output::table(
            &["user", "roles", "attributes", "signs in by", "tokens"],
            &rows,
            self.output,
        )
    }
}

fn row(user: &User) -> Vec<String> {
    let attributes = user
        .attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let ways = [
        ("password", user.password.is_some()),
        ("certificate", user.certificate.is_some()),
        ("token", !user.tokens.is_empty()),
    ];
    let ways: Vec<&str> = ways
        .iter()
        .filter(|(_, has)| *has)
        .map(|(way, _)| *way)
        .collect();
    vec![
        user.name.clone(),
        user.roles.join(", "),
        attributes.collect::<Vec<_>>().join(", "),
        ways.join(", "),
        user.tokens.len().to_string(),
    ]
}

impl Remove {
    fn run(self, config: &Config) -> anyhow::Result<()> {
        let path = Path::new(&config.flight.users);
        let mut users = Users::load(path)?.unwrap_or_default();
        users.remove(&self.name)?;
        if self.dry_run {
            output::note(&format!("\"{}\" would be removed", self.name));
            return Ok(());
        }
        users.store(path)?;
        output::note(&format!("\"{}\" is removed", self.name));
        Ok(())
    }
}

impl Token {
    fn run(self, config: &Config, now: i64) -> anyhow::Result<()> {
        let path = Path::new(&config.flight.users);
        let mut users = Users::load(path)?.unwrap_or_default();
        let user = users.find_mut(&self.name)?;
        if self.list {
            return self.print(user, now);
        }
        let mut given = None;
        let done = if self.revoke_all {
            user.tokens.clear();
            user.generation += 1;
            format!("all tokens of \"{}\" are taken back", self.name)
        } else if let Some(id) = &self.revoke {
            let before = user.tokens.len();
            user.tokens.retain(|token| token.id != *id);
            if user.tokens.len() == before {
                return Err(
                    Error::new(ErrorKind::NotFound, format!("there is no token \"{id}\""))
                        .hint("`sportlake user token NAME --list` names them.")
                        .into(),
                );
            }
            format!("the token \"{id}\" is taken back")
        } else {
            let expires = now + self.days * 24 * 60 * 60;
            if self.dry_run {
                output::note("a token would be given out");
                return Ok(());
            }
            let key = TicketKey::load_or_create(Path::new(&config.flight.key_file))?;
            let (token, id) = issue_token(&key, user, &self.label, expires, now)?;
            given = Some(token);
            format!(
                "token \"{id}\" of \"{}\" is good for {} days",
                self.name, self.days
            )
        };
        if self.dry_run {
            output::note(&format!("{done} (not written: --dry-run)"));
            return Ok(());
        }
        users.store(path)?;
        if let Some(token) = given {
            output::line(&token)?;
        }
        output::note(&done);
        Ok(())
    }

    fn print(&self, user: &User, now: i64) -> anyhow::Result<()> {
        let good = user.tokens.iter().filter(|token| token.expires > now);
        let rows: Vec<Vec<String>> = good
            .map(|token| {
                let days = (token.expires - now) / (24 * 60 * 60);
                vec![token.id.clone(), token.label.clone(), days.to_string()]
            })
            .collect();
        if self.output == Format::Json {
            let tokens: Vec<_> = rows
                .iter()
                .map(|row| json!({ "id": row[0], "label": row[1], "days_left": row[2] }))
                .collect();
            return output::json(&tokens);
        }
        output::table(&["id", "label", "days left"], &rows, self.output)
    }
}

/// `bu=Marketing`
pub(crate) fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("an attribute is written NAME=VALUE".to_owned()),
    }
}

/// Refuses a role that policies.sql does not create.
pub(crate) fn unknown_role(role: &str, known: &[String]) -> Error {
    let error = Error::new(ErrorKind::NotFound, format!("there is no role \"{role}\""));
    match known.is_empty() {
        true => error.hint("Create it in policies.sql: CREATE ROLE manager;"),
        false => error.hint(format!("The roles are {}.", known.join(", "))),
    }
}
