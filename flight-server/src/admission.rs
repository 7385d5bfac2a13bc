//! Who runs and who waits: at most so many statements at once, never all of them one user's, the next one of whichever
//! user's turn it is, a waiting room of bounded size and patience.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use engine::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Places for statements that only look at catalogs, so that nobody who browses waits behind heavy queries.
pub(crate) const BROWSING: usize = 4;
/// Of these, how many one user may hold.
const BROWSING_OF_ONE: usize = 2;

/// How many may run and wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) waiting_of_one: usize,
    pub(crate) patience: Duration,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    room: Room,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Held,
    browsing: Held,
    waiting: usize,
    next: u64,
    /// Users with somebody in the room; the first is next.
    turns: VecDeque<String>,
    queues: HashMap<String, VecDeque<Waiter>>,
}

/// The places of one kind that are taken, in all and by each user.
#[derive(Debug, Default)]
struct Held {
    all: usize,
    of_user: HashMap<String, usize>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    browses: bool,
    place: oneshot::Sender<Place>,
}

/// The right to run; it goes to the next one when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Admission,
    user: String,
    holds: Holds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Turn,
    Browsing,
    Nothing,
}

impl Room {
    /// How many places one user may take: three of four, so that nobody waits behind the statements of one other.
    fn running_of_one(&self) -> usize {
        (self.running * 3 / 4).max(1)
    }
}

impl Admission {
    pub(crate) fn new(room: Room) -> Self {
        Self(Arc::new(Shared {
            room,
            state: Mutex::default(),
        }))
    }

    /// A place for a statement of `user`, as soon as it is its turn.
    ///
    /// # Errors
    /// `ResourceExhausted` when the room is full, `Unavailable` when the turn does not come in time.
    pub(crate) async fn enter(&self, user: &str, browses: bool) -> Result<Place> {
        let room = self.0.room;
        let (number, place) = {
            let mut state = self.0.state.lock();
            if let Some(holds) = state.free(&room, user, browses) {
                state.take(user, holds);
                return Ok(self.place(user, holds));
            }
            let of_user = state.queues.get(user).map_or(0, VecDeque::len);
            if state.waiting >= room.waiting || of_user >= room.waiting_of_one {
                return Err(full(of_user >= room.waiting_of_one));
            }
            state.join(user, browses)
        };
        let _left = Left {
            admission: self,
            user,
            number,
        };
        match timeout(room.patience, place).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(too_long(room.patience)),
        }
    }

    fn place(&self, user: &str, holds: Holds) -> Place {
        Place {
            admission: self.clone(),
            user: user.to_owned(),
            holds,
        }
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.0.state.lock().waiting
    }
}

impl Held {
    fn of(&self, user: &str) -> usize {
        self.of_user.get(user).copied().unwrap_or(0)
    }

    fn take(&mut self, user: &str) {
        self.all += 1;
        *self.of_user.entry(user.to_owned()).or_default() += 1;
    }

    fn give_back(&mut self, user: &str) {
        self.all -= 1;
        if let Some(held) = self.of_user.get_mut(user) {
            *held -= 1;
            if *held == 0 {
                self.of_user.remove(user);
            }
        }
    }
}

impl State {
    /// The kind of place that a statement of `user` could have now.
    fn free(&self, room: &Room, user: &str, browses: bool) -> Option<Holds> {
        let apart = self.browsing.all < BROWSING && self.browsing.of(user) < BROWSING_OF_ONE;
        if browses && apart {
            return Some(Holds::Browsing);
        }
        let turn = self.running.all < room.running && self.running.of(user) < room.running_of_one();
        turn.then_some(Holds::Turn)
    }

    fn take(&mut self, user: &str, holds: Holds) {
        match holds {
            Holds::Turn => self.running.take(user),
            Holds::Browsing => self.browsing.take(user),
            Holds::Nothing => {}
        }
    }

    fn give_back(&mut self, user: &str, holds: Holds) {
        match holds {
            Holds::Turn => self.running.give_back(user),
            Holds::Browsing => self.browsing.give_back(user),
            Holds::Nothing => {}
        }
    }

    fn join(&mut self, user: &str, browses: bool) -> (u64, oneshot::Receiver<Place>) {
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        let (sender, receiver) = oneshot::channel();
        let queue = self.queues.entry(user.to_owned()).or_default();
        if queue.is_empty() {
            self.turns.push_back(user.to_owned());
        }
        queue.push_back(Waiter {
            number,
            browses,
            place: sender,
        });
        (number, receiver)
    }

    /// The first user in turn with somebody whom a free place suits, and that place; the user comes last from here on.
    fn next_waiter(&mut self, room: &Room) -> Option<(String, Waiter, Holds)> {
        for turn in 0..self.turns.len() {
            let user = &self.turns[turn];
            let queue = self.queues.get(user)?;
            let suited = queue.iter().enumerate().find_map(|(nth, waiter)| {
                let holds = self.free(room, user, waiter.browses)?;
                Some((nth, holds))
            });
            let Some((nth, holds)) = suited else {
                continue;
            };
            let user = self.turns.remove(turn)?;
            let queue = self.queues.get_mut(&user)?;
            let waiter = queue.remove(nth)?;
            match queue.is_empty() {
                true => drop(self.queues.remove(&user)),
                false => self.turns.push_back(user.clone()),
            }
            self.waiting -= 1;
            return Some((user, waiter, holds));
        }
        None
    }

    fn leave(&mut self, user: &str, number: u64) {
        let Some(queue) = self.queues.get_mut(user) else {
            return;
        };
        let before = queue.len();
        queue.retain(|waiter| waiter.number != number);
        self.waiting -= before - queue.len();
        if queue.is_empty() {
            self.queues.remove(user);
            self.turns.retain(|other| other != user);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.holds == Holds::Nothing {
            return;
        }
        let mut state = self.admission.0.state.lock();
        state.give_back(&self.user, self.holds);
        while let Some((user, waiter, holds)) = state.next_waiter(&self.admission.0.room) {
            state.take(&user, holds);
            let place = self.admission.place(&user, holds);
            // Whoever waited may have just left; the place is still ours to give.
            if let Err(mut refused) = waiter.place.send(place) {
                refused.holds = Holds::Nothing;
                state.give_back(&user, holds);
            }
        }
    }
}

/// Takes whoever goes away out of the room.
struct Left<'a> {
    admission: &'a Admission,
    user: &'a str,
    number: u64,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.0.state.lock();
        state.leave(self.user, self.number);
    }
}

fn full(of_one: bool) -> Error {
    let message = match of_one {
        true => "too many of your statements are waiting already",
        false => "too many statements are waiting already",
    };
    Error::new(ErrorKind::ResourceExhausted, message).hint(
        "Try again later: system.queries shows what runs and waits. flight.max_statements says how many run at once.",
    )
}

fn too_long(patience: Duration) -> Error {
    let seconds = patience.as_secs();
    Error::new(
        ErrorKind::Unavailable,
        format!("the statement waited for {seconds} seconds and others still run"),
    )
    .hint("Try again later: system.queries shows what runs and waits.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(running: usize, waiting: usize, waiting_of_one: usize) -> Admission {
        Admission::new(Room {
            running,
            waiting,
            waiting_of_one,
            patience: Duration::from_secs(600),
        })
    }

    async fn joined(admission: &Admission, waiting: usize) {
        while admission.waiting() < waiting {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn users_take_turns_and_each_waits_in_order() {
        let admission = admission(1, 10, 10);
        let first = admission.enter("anne", false).await.expect("free");
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        let waiting = ["anne 1", "anne 2", "anne 3", "bob 1", "carl 1", "bob 2"];
        for (nth, name) in waiting.into_iter().enumerate() {
            let (admission, told) = (admission.clone(), told.clone());
            tokio::spawn({
                let admission = admission.clone();
                async move {
                    let user = name.split(' ').next().expect("a user");
                    let place = admission.enter(user, false).await.expect("its turn");
                    told.send(name).expect("heard");
                    drop(place);
                }
            });
            joined(&admission, nth + 1).await;
        }
        drop((first, told));
        let mut seen = Vec::new();
        while let Some(name) = order.recv().await {
            seen.push(name);
        }
        let fair = ["anne 1", "bob 1", "carl 1", "anne 2", "bob 2", "anne 3"];
        assert_eq!(seen, fair);
        let state = admission.0.state.lock();
        assert_eq!(
            (state.running.all, state.waiting, state.turns.len()),
            (0, 0, 0)
        );
        assert!(state.running.of_user.is_empty());
    }

    #[tokio::test]
    async fn the_room_is_bounded_for_all_and_for_one() {
        let admission = admission(1, 2, 1);
        let _running = admission.enter("anne", false).await.expect("free");
        for (user, of_one) in [("anne", true), ("bob", false)] {
            let waiting = admission.clone();
            let held = admission.waiting();
            tokio::spawn(async move { waiting.enter(user, false).await });
            joined(&admission, held + 1).await;
            let again = match of_one {
                true => user,
                false => "carl",
            };
            let refused = admission.enter(again, false).await.expect_err("full");
            assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
            assert_eq!(refused.to_string().contains("your"), of_one);
        }
        admission.enter("carl", true).await.expect("browses");
    }

    #[tokio::test]
    async fn who_leaves_loses_no_place_for_others() {
        let admission = admission(1, 10, 10);
        let running = admission.enter("anne", false).await.expect("free");
        let leaving = tokio::spawn({
            let admission = admission.clone();
            async move { admission.enter("bob", false).await }
        });
        joined(&admission, 1).await;
        leaving.abort();
        assert!(leaving.await.is_err());
        assert_eq!(admission.waiting(), 0);
        drop(running);
        admission.enter("carl", false).await.expect("free again");
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let admission = Admission::new(Room {
            running: 1,
            waiting: 10,
            waiting_of_one: 10,
            patience: Duration::from_millis(1),
        });
        let _running = admission.enter("anne", false).await.expect("free");
        let refused = admission.enter("bob", false).await.expect_err("too long");
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test]
    async fn who_browses_has_places_apart_and_then_waits_too() {
        let admission = admission(1, 0, 0);
        let _heavy = admission.enter("anne", false).await.expect("free");
        let mut places = Vec::new();
        for user in ["anne", "anne", "bob", "carl"] {
            places.push(admission.enter(user, true).await.expect("apart"));
        }
        admission.enter("dora", true).await.expect_err("full");
        places.pop();
        admission.enter("dora", true).await.expect("apart again");
    }

    #[tokio::test]
    async fn a_place_to_browse_goes_to_who_waits_to_browse() {
        let admission = admission(1, 10, 10);
        let _heavy = admission.enter("anne", false).await.expect("free");
        let mut places = Vec::new();
        for user in ["anne", "anne", "bob", "carl"] {
            places.push(admission.enter(user, true).await.expect("apart"));
        }
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        for (nth, (user, browses)) in [("eve", false), ("dora", true)].into_iter().enumerate() {
            let (waiting, told) = (admission.clone(), told.clone());
            tokio::spawn(async move {
                let place = waiting.enter(user, browses).await.expect("its turn");
                told.send((user, place)).expect("heard");
            });
            joined(&admission, nth + 1).await;
        }
        places.pop();
        let (user, _place) = order.recv().await.expect("somebody");
        assert_eq!(user, "dora");
        assert_eq!(admission.waiting(), 1);
    }

    #[tokio::test]
    async fn one_user_never_takes_every_place() {
        let admission = admission(4, 10, 10);
        let mut places = Vec::new();
        for _ in 0..3 {
            places.push(admission.enter("anne", false).await.expect("free"));
        }
        let fourth = tokio::spawn({
            let admission = admission.clone();
            async move { admission.enter("anne", false).await }
        });
        joined(&admission, 1).await;
        let _of_bob = admission.enter("bob", false).await.expect("left for him");
        assert_eq!(admission.waiting(), 1);
        places.pop();
        fourth.await.expect("ran").expect("her own place again");
        for _ in 0..BROWSING_OF_ONE {
            places.push(admission.enter("anne", true).await.expect("apart"));
        }
        let _left = admission.enter("carl", true).await.expect("left for him");
    }
}
