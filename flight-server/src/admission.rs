//! Who runs and who waits: at most so many statements at once, the next one of whichever user's turn it is, a waiting
//! room of bounded size and patience.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use engine::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Places for statements that only look at catalogs, so that nobody who browses waits behind heavy queries.
pub(crate) const BROWSING: usize = 4;

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
    running: usize,
    browsing: usize,
    waiting: usize,
    next: u64,
    /// Users with somebody in the room; the first is next.
    turns: VecDeque<String>,
    queues: HashMap<String, VecDeque<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    place: oneshot::Sender<Place>,
}

/// The right to run; it goes to the next one when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Admission,
    holds: Holds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Turn,
    Browsing,
    Nothing,
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
            if browses && state.browsing < BROWSING {
                state.browsing += 1;
                return Ok(self.place(Holds::Browsing));
            }
            if state.running < room.running {
                state.running += 1;
                return Ok(self.place(Holds::Turn));
            }
            let of_user = state.queues.get(user).map_or(0, VecDeque::len);
            if state.waiting >= room.waiting || of_user >= room.waiting_of_one {
                return Err(full(of_user >= room.waiting_of_one));
            }
            state.join(user)
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

    fn place(&self, holds: Holds) -> Place {
        Place {
            admission: self.clone(),
            holds,
        }
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.0.state.lock().waiting
    }
}

impl State {
    fn join(&mut self, user: &str) -> (u64, oneshot::Receiver<Place>) {
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
            place: sender,
        });
        (number, receiver)
    }

    /// Whoever's turn it is; their user comes last from here on.
    fn next_waiter(&mut self) -> Option<Waiter> {
        let user = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&user)?;
        let waiter = queue.pop_front();
        match queue.is_empty() {
            true => drop(self.queues.remove(&user)),
            false => self.turns.push_back(user),
        }
        self.waiting -= 1;
        waiter
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
        if self.holds == Holds::Browsing {
            state.browsing -= 1;
            return;
        }
        while let Some(waiter) = state.next_waiter() {
            match waiter.place.send(self.admission.place(Holds::Turn)) {
                Ok(()) => return,
                // Whoever waited has just left; the place is still ours to give.
                Err(mut refused) => refused.holds = Holds::Nothing,
            }
        }
        state.running -= 1;
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
        assert_eq!((state.running, state.waiting, state.turns.len()), (0, 0, 0));
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
        for _ in 0..BROWSING {
            places.push(admission.enter("anne", true).await.expect("apart"));
        }
        admission.enter("anne", true).await.expect_err("full");
        places.pop();
        admission.enter("bob", true).await.expect("apart again");
    }
}
