//! What benches of processes share: looking until something is there, and what a process has used.

use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(3600);

/// Looks every so often until there is something.
pub(crate) fn wait<T>(what: &str, every: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(every);
    }
}

/// CPU time, bytes read and memory of a process, as /proc shows them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) bytes_read: u64,
    pub(crate) peak_megabytes: u64,
}

impl Usage {
    pub(crate) fn of(process: u32) -> Self {
        const TICKS_PER_SECOND: f64 = 100.0;
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/{process}/{name}")).expect("it runs")
        };
        let stat = read("stat");
        let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
        let ticks: f64 = fields
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<f64>().ok())
            .sum();
        let number = |text: &str, name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).expect("a number")
        };
        Self {
            cpu_seconds: ticks / TICKS_PER_SECOND,
            bytes_read: number(&read("io"), "rchar:"),
            peak_megabytes: number(&read("status"), "VmHWM:") / 1024,
        }
    }
}
