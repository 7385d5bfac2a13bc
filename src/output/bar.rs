use std::time::Duration;

/// Signs of a bar.
const WIDTH: usize = 24;

/// A bar of what is done, its share, and about how long the rest takes: `[######------------------] 25 %, about 30 s left`.
pub(crate) fn bar(done: usize, total: usize, elapsed: Duration) -> String {
    let done = done.min(total);
    let filled = done * WIDTH / total.max(1);
    let percent = done * 100 / total.max(1);
    let (filled, rest) = ("#".repeat(filled), "-".repeat(WIDTH - filled));
    let left = left(done, total, elapsed);
    let left = left.map(|left| format!(", about {left} left"));
    format!("[{filled}{rest}] {percent} %{}", left.unwrap_or_default())
}

/// What is left at the pace so far, in words; none before something is done and once all is.
fn left(done: usize, total: usize, elapsed: Duration) -> Option<String> {
    let rest = total.saturating_sub(done);
    if done == 0 || rest == 0 {
        return None;
    }
    let millis = elapsed.as_millis().saturating_mul(rest as u128) / done as u128;
    let seconds = millis.div_ceil(1000);
    Some(match seconds {
        0..=90 => format!("{seconds} s"),
        _ => format!("{} min", seconds.div_ceil(60)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_and_says_what_is_left_at_the_pace_so_far() {
        let check = |done, total, seconds, expected: &str| {
            assert_eq!(bar(done, total, Duration::from_secs(seconds)), expected);
        };
        check(0, 8, 5, "[------------------------] 0 %");
        check(2, 8, 10, "[######------------------] 25 %, about 30 s left");
        check(7, 8, 7, "[#####################---] 87 %, about 1 s left");
        check(8, 8, 80, "[########################] 100 %");
        check(
            1,
            1000,
            1,
            "[------------------------] 0 %, about 17 min left",
        );
        // Nothing to do, or more done than there was to do.
        check(0, 0, 1, "[------------------------] 0 %");
        check(9, 8, 1, "[########################] 100 %");
    }

    #[test]
    fn no_time_is_too_long_to_be_said() {
        let left = left(1, usize::MAX, Duration::MAX).expect("some time");
        assert!(left.ends_with(" min"), "{left}");
    }
}
