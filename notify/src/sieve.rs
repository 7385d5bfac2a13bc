//! Which events of the topic are news.

use changes::{BACKFILL_COMPLETE, Envelope, Op};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use memchr::memmem;

use crate::activity::{Activity, is_sane};
use crate::journal::Mark;
use crate::metrics::LeftOut;
use crate::names::key_id;

/// An activity that may be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct News {
    pub(crate) activity: Activity,
    /// When the source committed it; none when it does not say.
    pub(crate) committed: Option<DateTime<Utc>>,
    /// When the activity began; none when the row does not say.
    pub(crate) began: Option<DateTime<Utc>>,
}

impl News {
    /// Whether it is older than that, by its record or by its start.
    pub(crate) fn is_older_than(&self, oldest: DateTime<Utc>) -> bool {
        let times = [self.committed, self.began];
        times.into_iter().flatten().any(|time| time < oldest)
    }
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    New(Box<News>),
    /// An activity is corrected before it was told.
    Changed(Box<Activity>),
    /// An activity is taken back.
    Gone(i64),
    /// The first load is over.
    Mark(Mark),
    Nothing(LeftOut),
}

/// A message of the topic.
pub(crate) struct Message<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// Whether the key of a known row was changed, which Debezium writes as a deletion and a creation.
    pub(crate) renames: bool,
}

pub(crate) struct Sieve {
    /// The end of the first load, once it was seen.
    pub(crate) mark: Option<Mark>,
    /// Whether nothing is news before the mark.
    pub(crate) awaits_mark: bool,
    pub(crate) timezone: Tz,
}

impl Sieve {
    pub(crate) fn judge(&mut self, message: &Message<'_>) -> Said {
        let Some(value) = message.value else {
            return Said::Nothing(LeftOut::NotNew);
        };
        let Ok(envelope) = Envelope::parse(value) else {
            return Said::Nothing(LeftOut::Unreadable);
        };
        if envelope.op == Op::Delete {
            return message
                .key
                .and_then(key_id)
                .map_or(Said::Nothing(LeftOut::NotNew), Said::Gone);
        }
        let activity = envelope
            .after
            .and_then(|after| Activity::parse(after.get()));
        let Some(activity) = activity else {
            return Said::Nothing(LeftOut::Unreadable);
        };
        if activity.is_mark() {
            return self.mark_at(&envelope);
        }
        if has_no_time(&envelope) {
            return Said::Nothing(LeftOut::Unreadable);
        }
        match envelope.op {
            Op::Read => Said::Nothing(LeftOut::Snapshot),
            _ if self.is_of_the_first_load(&envelope) => Said::Nothing(LeftOut::Backfill),
            Op::Create if !message.renames => Said::New(Box::new(News {
                committed: envelope.source_ts_ms.and_then(time),
                began: activity.began(self.timezone),
                activity,
            })),
            Op::Update => Said::Changed(Box::new(activity)),
            _ => Said::Nothing(LeftOut::NotNew),
        }
    }

    /// Only a creation ends another first load. A snapshot that is taken again, or a change of the row, says nothing of
    /// what came since.
    fn mark_at(&mut self, envelope: &Envelope<'_>) -> Said {
        match envelope.op {
            Op::Create => {}
            _ if self.mark.is_none() => {}
            Op::Read => return Said::Nothing(LeftOut::Snapshot),
            _ => return Said::Nothing(LeftOut::NotNew),
        }
        let mark = place(envelope);
        self.mark = Some(mark);
        Said::Mark(mark)
    }

    /// By its place in the source's log and by its time: log positions start low again when another source takes over,
    /// and the clock of a source may go wrong.
    fn is_of_the_first_load(&self, envelope: &Envelope<'_>) -> bool {
        let Some(mark) = self.mark else {
            return self.awaits_mark;
        };
        let event = place(envelope);
        let by_log = event.lsn.zip(mark.lsn).map(|(event, mark)| event <= mark);
        let by_time = event
            .ts_ms
            .zip(mark.ts_ms)
            .map(|(event, mark)| event <= mark);
        match (by_log, by_time) {
            (None, None) => false,
            (by_log, by_time) => by_log.unwrap_or(true) && by_time.unwrap_or(true),
        }
    }
}

/// The mark that a message is, looked at in the quickest way.
pub(crate) fn mark_in(value: &[u8]) -> Option<Mark> {
    memmem::find(value, BACKFILL_COMPLETE.as_bytes())?;
    let envelope = Envelope::parse(value).ok()?;
    let activity = Activity::parse(envelope.after?.get())?;
    activity.is_mark().then(|| place(&envelope))
}

/// Whether the source names a time that no clock shows.
fn has_no_time(envelope: &Envelope<'_>) -> bool {
    envelope.source_ts_ms.is_some_and(|ms| time(ms).is_none())
}

fn time(milliseconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(milliseconds).filter(|at| is_sane(*at))
}

fn place(envelope: &Envelope<'_>) -> Mark {
    Mark {
        lsn: envelope.source_lsn,
        ts_ms: envelope.source_ts_ms.filter(|ms| time(*ms).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(op: &str, id: i64, sport: &str, lsn: i64, ts_ms: i64) -> String {
        format!(
            r#"{{"op":"{op}","after":{{"id":{id},"employee_id":1,"type_activite":"{sport}"}},"source":{{"lsn":{lsn},"ts_ms":{ts_ms}}}}}"#
        )
    }

    fn sieve(awaits_mark: bool) -> Sieve {
        Sieve {
            mark: None,
            awaits_mark,
            timezone: chrono_tz::Europe::Paris,
        }
    }

    #[track_caller]
    fn check(sieve: &mut Sieve, value: &str, expected: &str) {
        let message = Message {
            key: Some(br#"{"id":7}"#),
            value: Some(value.as_bytes()),
            renames: false,
        };
        let said = match sieve.judge(&message) {
            Said::New(news) => format!("new {}", news.activity.id),
            Said::Changed(activity) => format!("changed {}", activity.id),
            Said::Gone(id) => format!("gone {id}"),
            Said::Mark(_) => "mark".to_owned(),
            Said::Nothing(reason) => format!("{reason:?}"),
        };
        assert_eq!(said, expected, "{value}");
    }

    #[test]
    fn nothing_of_the_first_load_is_news() {
        let mut sieve = sieve(true);
        check(&mut sieve, &event("c", 1, "Boxe", 10, 100), "Backfill");
        check(&mut sieve, &event("r", 2, "Boxe", 11, 100), "Snapshot");
        check(
            &mut sieve,
            &event("c", 3, BACKFILL_COMPLETE, 20, 200),
            "mark",
        );
        check(&mut sieve, &event("c", 4, "Boxe", 15, 150), "Backfill");
        check(&mut sieve, &event("c", 5, "Boxe", 21, 201), "new 5");
        check(&mut sieve, &event("u", 5, "Boxe", 22, 202), "changed 5");
        check(&mut sieve, &event("r", 6, "Boxe", 30, 300), "Snapshot");
        check(&mut sieve, r#"{"op":"d","before":{"id":7}}"#, "gone 7");
        check(&mut sieve, "poison", "Unreadable");
        check(&mut sieve, r#"{"op":"c","after":{}}"#, "Unreadable");
    }

    #[test]
    fn another_source_is_after_the_first_load_of_the_last() {
        let mut sieve = sieve(true);
        check(
            &mut sieve,
            &event("c", 3, BACKFILL_COMPLETE, 1 << 40, 200),
            "mark",
        );
        check(&mut sieve, &event("c", 4, "Boxe", 15, 300), "new 4");
        check(
            &mut sieve,
            r#"{"op":"c","after":{"id":8,"employee_id":1,"type_activite":"Boxe"}}"#,
            "new 8",
        );
    }

    #[test]
    fn a_snapshot_that_is_taken_again_moves_no_mark() {
        let mut sieve = sieve(true);
        let mark = |op: &str, lsn: i64| event(op, 3, BACKFILL_COMPLETE, lsn, lsn * 10);
        check(&mut sieve, &mark("r", 20), "mark");
        check(&mut sieve, &mark("r", 900), "Snapshot");
        check(&mut sieve, &mark("u", 901), "NotNew");
        check(&mut sieve, &event("c", 4, "Boxe", 21, 201), "new 4");
        check(&mut sieve, &mark("c", 40), "mark");
        check(&mut sieve, &event("c", 5, "Boxe", 39, 399), "Backfill");
        check(&mut sieve, &event("c", 6, "Boxe", 41, 401), "new 6");
    }

    #[test]
    fn what_no_clock_shows_is_not_told_and_hides_nothing() {
        let mut sieve = sieve(true);
        for ts_ms in [i64::MIN, i64::MAX, 1 << 60] {
            check(&mut sieve, &event("c", 4, "Boxe", 21, ts_ms), "Unreadable");
        }
        let mark = event("c", 3, BACKFILL_COMPLETE, 20, i64::MAX);
        check(&mut sieve, &mark, "mark");
        check(&mut sieve, &event("c", 4, "Boxe", 21, 201), "new 4");
        check(
            &mut sieve,
            &event("c", 5, "Boxe", i64::MIN, 201),
            "Backfill",
        );
    }

    #[test]
    fn without_a_mark_every_creation_is_news_but_a_renamed_row() {
        let mut sieve = sieve(false);
        check(&mut sieve, &event("c", 1, "Boxe", 10, 100), "new 1");
        let value = event("c", 2, "Boxe", 10, 100);
        let renamed = Message {
            key: None,
            value: Some(value.as_bytes()),
            renames: true,
        };
        assert_eq!(sieve.judge(&renamed), Said::Nothing(LeftOut::NotNew));
    }

    #[test]
    fn a_mark_is_found_by_itself() {
        let mark = event("r", 3, BACKFILL_COMPLETE, 20, 200);
        let expected = Mark {
            lsn: Some(20),
            ts_ms: Some(200),
        };
        assert_eq!(mark_in(mark.as_bytes()), Some(expected));
        let comment = event("c", 3, "Boxe", 20, 200).replace("Boxe", "a BACKFILL_COMPLETE b");
        assert_eq!(mark_in(comment.as_bytes()), None);
        assert_eq!(mark_in(b"BACKFILL_COMPLETE"), None);
    }
}
