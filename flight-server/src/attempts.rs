use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong passwords that nobody is made to wait for.
const FREE: u32 = 8;

/// The first wait; each further wrong password doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// After this long without an attempt, those before are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(15 * 60);

/// Somebody who tries to sign in as somebody, from somewhere.
type Who = (IpAddr, String);

/// Who tried passwords, and how long they have to wait. Keeps no more than `most` of them.
#[derive(Debug)]
pub(crate) struct Attempts {
    most: usize,
    made: HashMap<Who, Made>,
}

#[derive(Debug, Clone, Copy)]
struct Made {
    count: u32,
    last: Instant,
}

impl Attempts {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            made: HashMap::new(),
        }
    }

    /// Counts an attempt before it is judged, so that many at once are no way around the wait.
    ///
    /// # Errors
    /// How long to wait; the attempt is not to be judged.
    pub(crate) fn begin(&mut self, from: IpAddr, user: &str, now: Instant) -> Result<(), Duration> {
        let who = (from, user.to_owned());
        let made = self.made.get(&who).copied();
        let made = made.filter(|made| now.duration_since(made.last) < FORGOTTEN);
        let count = made.map_or(0, |made| made.count);
        if let Some(made) = made {
            let left = wait(count).saturating_sub(now.duration_since(made.last));
            if !left.is_zero() {
                return Err(left);
            }
        }
        if !self.made.contains_key(&who) && self.made.len() >= self.most {
            self.make_room(now);
        }
        let count = count.saturating_add(1);
        self.made.insert(who, Made { count, last: now });
        Ok(())
    }

    /// The password was right.
    pub(crate) fn succeeded(&mut self, from: IpAddr, user: &str) {
        self.made.remove(&(from, user.to_owned()));
    }

    /// Forgets what is old, or else who has waited for longest with the fewest attempts.
    fn make_room(&mut self, now: Instant) {
        self.made
            .retain(|_, made| now.duration_since(made.last) < FORGOTTEN);
        if self.made.len() < self.most {
            return;
        }
        let least = self
            .made
            .iter()
            .min_by_key(|(_, made)| (made.count, made.last));
        if let Some(who) = least.map(|(who, _)| who.clone()) {
            self.made.remove(&who);
        }
    }
}

fn wait(count: u32) -> Duration {
    match count.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(over) => FIRST_WAIT
            .saturating_mul(2_u32.saturating_pow(over))
            .min(LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn each_wrong_password_makes_the_next_wait_longer() {
        let start = Instant::now();
        let mut attempts = Attempts::new(10);
        for _ in 0..FREE {
            attempts.begin(HOME, "anne", start).expect("free");
        }
        let mut now = start;
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = attempts.begin(HOME, "anne", now).expect_err("too soon");
            assert_eq!(wait.as_secs(), expected);
            now += wait;
            attempts.begin(HOME, "anne", now).expect("waited");
        }
        attempts.begin(HOME, "bob", now).expect("somebody else");
        let later = now + FORGOTTEN;
        attempts.begin(HOME, "anne", later).expect("forgotten");
    }

    #[test]
    fn a_right_password_clears_the_count() {
        let now = Instant::now();
        let mut attempts = Attempts::new(10);
        for _ in 0..FREE {
            attempts.begin(HOME, "anne", now).expect("free");
        }
        attempts.succeeded(HOME, "anne");
        attempts.begin(HOME, "anne", now).expect("cleared");
    }

    #[test]
    fn memory_is_bounded_and_who_waits_is_forgotten_last() {
        let now = Instant::now();
        let mut attempts = Attempts::new(100);
        for _ in 0..FREE {
            attempts.begin(HOME, "anne", now).expect("free");
        }
        for n in 0..1000 {
            let user = format!("user{n}");
            attempts.begin(HOME, &user, now).expect("free");
        }
        assert_eq!(attempts.made.len(), 100);
        attempts
            .begin(HOME, "anne", now)
            .expect_err("still counted");
    }
}
