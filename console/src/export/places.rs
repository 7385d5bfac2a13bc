//! Who exports at this moment: so many at once, and never all of them one user's.

use std::collections::HashMap;
use std::sync::Arc;

use engine::{Error, ErrorKind, Result};
use parking_lot::Mutex;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Exports(Arc<Shared>);

struct Shared {
    most: usize,
    /// By user; whoever has none is not in it.
    taken: Mutex<HashMap<String, usize>>,
}

/// The right to export, given back when it is dropped.
pub(super) struct Place {
    exports: Exports,
    user: String,
}

impl Exports {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            most,
            taken: Mutex::default(),
        }))
    }

    /// A place for one more. Where users sign in, three of four is the most that one of them has.
    ///
    /// # Errors
    /// `ResourceExhausted` when there is none.
    pub(super) fn enter(&self, user: &str, has_users: bool) -> Result<Place> {
        let most = self.0.most;
        let of_one = match has_users {
            true => (most * 3).div_ceil(4).min(most.saturating_sub(1)).max(1),
            false => most,
        };
        let mut taken = self.0.taken.lock();
        let own = taken.get(user).copied().unwrap_or(0);
        let all: usize = taken.values().sum();
        if all >= most {
            return Err(full("too many exports run already"));
        }
        if own >= of_one {
            return Err(full("too many of your exports run already"));
        }
        taken.insert(user.to_owned(), own + 1);
        Ok(Place {
            exports: self.clone(),
            user: user.to_owned(),
        })
    }
}

fn full(message: &str) -> Error {
    Error::new(ErrorKind::ResourceExhausted, message)
        .hint("Try again in a few seconds; http.max_exports says how many may run at once.")
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.exports.0.taken.lock();
        match taken.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.user)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_never_has_every_place_and_gives_each_back() {
        let exports = Exports::new(4);
        let enter = |user| exports.enter(user, true);
        let mut places: Vec<Place> = (0..3).map(|_| enter("anne").expect("free")).collect();
        let refused = enter("anne").err().expect("too many");
        assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
        assert!(refused.to_string().contains("your"), "{refused}");
        let of_bob = enter("bob").expect("left for him");
        let refused = enter("carl").err().expect("full");
        assert!(!refused.to_string().contains("your"), "{refused}");
        places.pop();
        drop(enter("carl").expect("free again"));
        drop((places, of_bob));
        assert!(exports.0.taken.lock().is_empty());
    }

    #[test]
    fn a_single_place_and_a_page_without_users_are_anybodys() {
        let single = Exports::new(1);
        drop(single.enter("anne", true).expect("free"));
        let two = Exports::new(2);
        let _own = two.enter("anne", true).expect("free");
        assert!(two.enter("anne", true).is_err());
        let all = Exports::new(2);
        let _both =
            [all.enter("a", false), all.enter("a", false)].map(|place| place.expect("free"));
        assert!(all.enter("a", false).is_err());
    }
}
