//! What is to be told, in the order in which it was heard, and up to where the topic is done with.

use std::collections::{HashSet, VecDeque};

use chrono::{DateTime, Utc};

use crate::activity::Activity;
use crate::journal::{Mark, Positions, REMEMBERED, State};
use crate::metrics::{LeftOut, observe_left_out};
use crate::names::Names;
use crate::sieve::{News, Said};
use crate::teller::{Message, digest, tell};

/// Activities that wait at the same time; above it the topic is not read further.
const MOST: usize = 1000;

/// Activities that are told one by one; when more wait, they are one digest, or the last would be late.
const ONE_BY_ONE: usize = 2;

/// Activities known as told or waiting, at most: what the journal remembers, and what waits.
const KNOWN: usize = REMEMBERED + MOST;

/// What the reader hands over.
#[derive(Debug)]
pub(crate) struct Step {
    /// Partition and next offset.
    pub(crate) place: Option<(i32, i64)>,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Said(Said),
    /// Everything there was is read.
    End,
}

/// A message of the topic that is not done with.
#[derive(Debug)]
struct Waiting {
    /// None when reading stands after it already.
    place: Option<(i32, i64)>,
    news: Option<Box<News>>,
}

/// A message to post, and where reading stands afterwards.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    pub(crate) message: Message,
    pub(crate) next: Positions,
    /// What is told, in order.
    pub(crate) news: Vec<News>,
    /// By what the activities are known again.
    pub(crate) identities: Vec<i64>,
    /// The oldest of them, by their start or record: none when nothing is known of any.
    pub(crate) oldest: Option<DateTime<Utc>>,
}

pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    news: usize,
    positions: Positions,
    mark: Option<Mark>,
    /// Activities that were told, or wait.
    known: Known,
    at_end: bool,
}

/// The last activities that were told, or wait.
struct Known {
    identities: HashSet<i64>,
    order: VecDeque<i64>,
}

impl Known {
    /// Whether it is new.
    fn insert(&mut self, identity: i64) -> bool {
        if !self.identities.insert(identity) {
            return false;
        }
        self.order.push_back(identity);
        if self.order.len() > KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.identities.remove(&oldest);
        }
        true
    }
}

/// What decides at the last moment.
pub(crate) struct Rules<'a> {
    /// Before that, an activity is no news any more.
    pub(crate) oldest: DateTime<Utc>,
    pub(crate) opted_out: &'a HashSet<i64>,
    pub(crate) names: &'a Names,
}

impl Outbox {
    pub(crate) fn new(state: &State) -> Self {
        let told = state.known.iter();
        Self {
            waiting: VecDeque::new(),
            news: 0,
            positions: state.positions.clone(),
            mark: state.mark,
            known: Known {
                identities: told.clone().copied().collect(),
                order: told.copied().collect(),
            },
            at_end: false,
        }
    }

    pub(crate) fn push(&mut self, step: Step) {
        let said = match step.what {
            What::End => {
                self.at_end = true;
                return;
            }
            What::Said(said) => said,
        };
        let Some(place) = step.place else { return };
        self.at_end = false;
        let mut news = None;
        match said {
            Said::New(new) if self.known.insert(new.activity.identity()) => news = Some(new),
            Said::New(_) => observe_left_out(LeftOut::Repeated),
            Said::Changed(activity) => self.change(*activity),
            Said::Gone(id) => self.withdraw(id),
            Said::Mark(mark) => self.mark = Some(mark),
            Said::Nothing(reason) => observe_left_out(reason),
        }
        self.add(place, news);
    }

    /// What a process before this one told.
    pub(crate) fn settled(&mut self, identities: &[i64], positions: &Positions) {
        self.positions.extend(positions);
        for identity in identities {
            self.known.insert(*identity);
        }
    }

    fn add(&mut self, place: (i32, i64), news: Option<Box<News>>) {
        if news.is_some() {
            self.news += 1;
        } else if self.waiting.is_empty() {
            self.positions.insert(place.0, place.1);
            return;
        } else if let Some(last) = self.waiting.back_mut()
            && last.news.is_none()
            && last.place.is_some_and(|last| last.0 == place.0)
        {
            last.place = Some(place);
            return;
        }
        let place = Some(place);
        self.waiting.push_back(Waiting { place, news });
    }

    /// Of a message that was not posted: what is still news of it is told anew.
    pub(crate) fn put_back(&mut self, news: Vec<News>) {
        self.news += news.len();
        for news in news.into_iter().rev() {
            self.waiting.push_front(Waiting {
                place: None,
                news: Some(Box::new(news)),
            });
        }
    }

    fn change(&mut self, activity: Activity) {
        observe_left_out(LeftOut::NotNew);
        if let Some(news) = self.waiting_news(activity.id).and_then(Option::as_mut) {
            news.activity = activity;
        }
    }

    fn withdraw(&mut self, id: i64) {
        observe_left_out(LeftOut::NotNew);
        if let Some(news) = self.waiting_news(id) {
            *news = None;
            self.news -= 1;
            self.settle();
        }
    }

    /// What comes before the first news is done with.
    fn settle(&mut self) {
        while self.starts_with_nothing()
            && let Some(waiting) = self.waiting.pop_front()
        {
            self.positions.extend(waiting.place);
        }
    }

    fn waiting_news(&mut self, id: i64) -> Option<&mut Option<Box<News>>> {
        let is_it = |waiting: &&mut Waiting| {
            let news = waiting.news.as_ref();
            news.is_some_and(|news| news.activity.id == id)
        };
        let found = self.waiting.iter_mut().find(is_it)?;
        Some(&mut found.news)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST
    }

    pub(crate) fn news(&self) -> usize {
        self.news
    }

    /// Whether everything there was is read and told.
    pub(crate) fn is_done(&self) -> bool {
        self.at_end && self.waiting.is_empty()
    }

    /// Where reading stands, and the end of the first load, of what is done with.
    pub(crate) fn standing(&self) -> (&Positions, Option<Mark>) {
        (&self.positions, self.mark)
    }

    /// The next message: of one activity, or of all when there are many. What is no news any more is passed over.
    pub(crate) fn next(&mut self, rules: &Rules<'_>) -> Option<Batch> {
        self.sift(rules);
        let wanted = if self.news > ONE_BY_ONE { self.news } else { 1 };
        let mut told: Vec<News> = Vec::new();
        while told.len() < wanted {
            let Some(waiting) = self.waiting.pop_front() else {
                break;
            };
            self.positions.extend(waiting.place);
            if let Some(news) = waiting.news {
                self.news -= 1;
                told.push(*news);
            }
        }
        self.settle();
        let name = |news: &News| rules.names.of(news.activity.employee_id);
        let message = match told.as_slice() {
            [] => return None,
            [one] => Message {
                text: tell(&one.activity, name(one).as_deref()),
                ids: vec![one.activity.id],
            },
            many => digest(many.iter().map(|news| (&news.activity, name(news)))),
        };
        Some(Batch {
            message,
            next: self.positions.clone(),
            identities: told.iter().map(|news| news.activity.identity()).collect(),
            oldest: told
                .iter()
                .flat_map(|news| news.committed.into_iter().chain(news.began))
                .min(),
            news: told,
        })
    }

    fn starts_with_nothing(&self) -> bool {
        let first = self.waiting.front();
        first.is_some_and(|waiting| waiting.news.is_none())
    }

    fn sift(&mut self, rules: &Rules<'_>) {
        for waiting in &mut self.waiting {
            let Some(news) = &waiting.news else { continue };
            let reason = if rules.opted_out.contains(&news.activity.employee_id) {
                LeftOut::OptedOut
            } else if news.is_older_than(rules.oldest) {
                LeftOut::Old
            } else {
                continue;
            };
            observe_left_out(reason);
            waiting.news = None;
            self.news -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
