//! Who called lately: what `system.sessions` shows.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use engine::{DEFAULT_SCHEMA, SessionRow};

use super::SessionOptions;

/// The session of a token; clients that sign in with each call are told apart by user and address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Who {
    pub(super) session: Option<u64>,
    pub(super) user: String,
    pub(super) from: IpAddr,
}

/// At most so many, those that called last.
#[derive(Debug)]
pub(super) struct Seen {
    most: usize,
    idle: Duration,
    known: HashMap<Who, Known>,
}

#[derive(Debug)]
struct Known {
    /// Microseconds since 1970.
    opened: i64,
    last_call: i64,
    calls: u64,
    used: Instant,
    options: SessionOptions,
}

impl Seen {
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        Self {
            most,
            idle,
            known: HashMap::new(),
        }
    }

    /// Notes a call, `now` in microseconds since 1970.
    pub(super) fn note(&mut self, who: Who, options: &SessionOptions, now: i64) {
        if !self.known.contains_key(&who) && self.known.len() >= self.most {
            self.make_room();
        }
        let known = self.known.entry(who).or_insert_with(|| Known {
            opened: now,
            last_call: now,
            calls: 0,
            used: Instant::now(),
            options: SessionOptions::default(),
        });
        known.last_call = now;
        known.calls += 1;
        known.used = Instant::now();
        if known.options != *options {
            known.options = options.clone();
        }
    }

    pub(super) fn forget(&mut self, who: &Who) {
        self.known.remove(who);
    }

    pub(super) fn rows(&self) -> Vec<SessionRow> {
        let lately = self
            .known
            .iter()
            .filter(|(_, known)| known.used.elapsed() < self.idle);
        let mut rows: Vec<(Instant, SessionRow)> = lately
            .map(|(who, known)| (known.used, row(who, known)))
            .collect();
        rows.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Forgets those who are idle, or else who called longest ago.
    fn make_room(&mut self) {
        let idle = self.idle;
        self.known.retain(|_, known| known.used.elapsed() < idle);
        if self.known.len() >= self.most {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(who, _)| who.clone()) {
                self.known.remove(&oldest);
            }
        }
    }
}

/// How a session is called where people read it.
pub(super) fn name(session: u64) -> String {
    format!("{session:016x}")
}

fn row(who: &Who, known: &Known) -> SessionRow {
    let schema = known.options.schema.as_deref();
    SessionRow {
        session: who.session.map(name),
        user: who.user.clone(),
        client: who.from.to_string(),
        opened: known.opened,
        last_call: known.last_call,
        calls: known.calls,
        schema: schema.unwrap_or(DEFAULT_SCHEMA).to_owned(),
        epoch: known.options.epoch,
        profile: known.options.profile.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(session: Option<u64>, user: &str) -> Who {
        Who {
            session,
            user: user.to_owned(),
            from: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        }
    }

    #[test]
    fn calls_are_counted_and_who_called_longest_ago_makes_room() {
        let mut seen = Seen::new(2, Duration::from_secs(60));
        let options = SessionOptions::default();
        seen.note(who(Some(7), "anne"), &options, 1);
        seen.note(who(None, "bob"), &options, 2);
        seen.note(who(Some(7), "anne"), &options, 3);
        seen.note(who(None, "carl"), &options, 4);
        let rows = seen.rows();
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.user.as_str(), row.opened, row.last_call, row.calls))
            .collect();
        assert_eq!(told, [("carl", 4, 4, 1), ("anne", 1, 3, 2)]);
        assert_eq!(rows[1].session.as_deref(), Some("0000000000000007"));
        seen.forget(&who(Some(7), "anne"));
        assert_eq!(seen.rows().len(), 1);
    }
}
