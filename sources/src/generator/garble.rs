//! Messages that are no change events.

use rand::Rng;

/// Appends what some other program, or a broken one, might have written in place of that change event.
pub(super) fn garble(event: &[u8], rng: &mut impl Rng, out: &mut Vec<u8>) {
    let kind = rng.random_range(0..KINDS);
    write(kind, event, rng, out);
}

const KINDS: u32 = 9;

fn write(kind: u32, event: &[u8], rng: &mut impl Rng, out: &mut Vec<u8>) {
    match kind {
        // Cut off on its way.
        0 => out
            .extend_from_slice(&event[..rng.random_range(1..event.len().max(2)).min(event.len())]),
        // Confluent's framing of Avro.
        1 => {
            out.extend_from_slice(&[0, 0, 0, 0]);
            out.extend(std::iter::repeat_with(|| rng.random::<u8>()).take(24));
        }
        2 => out.extend_from_slice(b"heartbeat"),
        3 => {}
        4 => out.extend_from_slice(b"[]"),
        5 => out.extend_from_slice(br#"{"before":null,"after":null}"#),
        6 => out.extend_from_slice(br#"{"before":null,"after":null,"op":"upsert"}"#),
        7 => out.extend_from_slice(br#"{"before":null,"after":[1,2],"op":"c"}"#),
        _ => out.extend_from_slice(br#"{"before":"none","after":null,"op":"d"}"#),
    }
}

#[cfg(test)]
mod tests {
    use changes::Envelope;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn nothing_of_it_is_a_change_event() {
        let event = br#"{"before":null,"after":{"id":1,"commentaire":"\u00c0 refaire"},"source":{"lsn":5},"op":"c","ts_ms":1}"#;
        let mut rng = SmallRng::seed_from_u64(7);
        for round in 0..100 {
            for kind in 0..KINDS {
                let mut out = Vec::new();
                write(kind, event, &mut rng, &mut out);
                let text = String::from_utf8_lossy(&out);
                assert!(Envelope::parse(&out).is_err(), "round {round}: {text}");
            }
        }
    }
}
