use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).expect("a time")
}

fn news(id: i64, employee_id: i64) -> Said {
    Said::New(Box::new(News {
        activity: activity(id, employee_id),
        committed: Some(at(1000 + id)),
        began: None,
    }))
}

fn activity(id: i64, employee_id: i64) -> Activity {
    Activity {
        id,
        employee_id,
        date_debut: None,
        sport: "Boxe".to_owned(),
        distance_m: None,
        duree_s: None,
        comment: None,
    }
}

fn outbox(said: impl IntoIterator<Item = (i32, i64, Said)>) -> Outbox {
    let mut outbox = Outbox::new(&State::default());
    for (partition, next, said) in said {
        outbox.push(Step {
            place: Some((partition, next)),
            what: What::Said(said),
        });
    }
    outbox
}

fn next(outbox: &mut Outbox, oldest: i64, opted_out: &[i64]) -> Option<Batch> {
    let opted_out = opted_out.iter().copied().collect();
    outbox.next(&Rules {
        oldest: at(oldest),
        opted_out: &opted_out,
        names: &Names::default(),
    })
}

const NOTHING: Said = Said::Nothing(LeftOut::Snapshot);

#[test]
fn reading_stands_before_what_waits() {
    let mut outbox = outbox([
        (0, 1, NOTHING),
        (0, 2, news(1, 1)),
        (1, 1, NOTHING),
        (0, 3, news(2, 1)),
    ]);
    assert_eq!(outbox.standing().0, &Positions::from([(0, 1)]));
    let first = next(&mut outbox, 0, &[]).expect("news");
    assert_eq!(first.message.ids, [1]);
    assert_eq!(first.next, Positions::from([(0, 2), (1, 1)]));
    let second = next(&mut outbox, 0, &[]).expect("news");
    assert_eq!(second.next, Positions::from([(0, 3), (1, 1)]));
    assert_eq!(next(&mut outbox, 0, &[]), None);
}

#[test]
fn many_are_one_digest_in_the_order_heard() {
    let mut outbox = outbox((1..=3).map(|id| (0, id, news(id, 1))));
    let batch = next(&mut outbox, 0, &[]).expect("news");
    assert_eq!(batch.message.ids, [1, 2, 3]);
    assert_eq!(batch.next, Positions::from([(0, 3)]));
    assert_eq!(
        batch.oldest,
        Some(at(1001)),
        "a digest is as old as its oldest"
    );
    assert_eq!(outbox.news(), 0);
}

#[test]
fn what_is_repeated_taken_back_old_or_opted_out_is_not_told() {
    let mut outbox = outbox([
        (0, 1, news(1, 1)),
        (0, 2, news(1, 1)),
        (0, 3, news(2, 1)),
        (0, 4, Said::Gone(2)),
        (0, 5, news(3, 7)),
        (0, 6, news(4, 1)),
    ]);
    let batch = next(&mut outbox, 1004, &[7]).expect("news");
    assert_eq!(
        batch.message.ids,
        [4],
        "1 is too old, 2 was taken back, 7 opted out"
    );
    assert_eq!(batch.next, Positions::from([(0, 6)]));
    outbox.push(Step {
        place: Some((0, 7)),
        what: What::Said(news(4, 1)),
    });
    assert_eq!(outbox.news(), 0, "told already");
    assert_eq!(outbox.standing().0, &Positions::from([(0, 7)]));
}

#[test]
fn another_activity_with_the_id_of_one_that_was_told_is_told() {
    let mut outbox = outbox([(0, 1, news(1, 1))]);
    assert!(next(&mut outbox, 0, &[]).is_some());
    outbox.push(Step {
        place: Some((0, 2)),
        what: What::Said(news(1, 2)),
    });
    let batch = next(&mut outbox, 0, &[]).expect("the topic was made anew");
    assert_eq!(batch.message.ids, [1]);
}

#[test]
fn of_a_digest_that_grew_old_what_is_news_is_told() {
    let mut outbox = outbox((1..=4).map(|id| (0, id, news(id, 1))));
    let digest = next(&mut outbox, 0, &[]).expect("news");
    assert_eq!(digest.message.ids, [1, 2, 3, 4]);
    outbox.put_back(digest.news);
    assert_eq!(outbox.news(), 4);
    let batch = next(&mut outbox, 1003, &[]).expect("news");
    assert_eq!(batch.message.ids, [3], "one by one, as two wait");
    let batch = next(&mut outbox, 1003, &[]).expect("news");
    assert_eq!(batch.message.ids, [4]);
    assert_eq!(batch.next, Positions::from([(0, 4)]));
    outbox.put_back(batch.news);
    assert_eq!(next(&mut outbox, 2000, &[]), None);
    assert_eq!(outbox.news(), 0);
    assert_eq!(outbox.standing().0, &Positions::from([(0, 4)]));
}

#[test]
fn a_correction_is_what_is_told() {
    let mut corrected = activity(1, 1);
    corrected.duree_s = Some(3600.0);
    let mut outbox = outbox([
        (0, 1, news(1, 1)),
        (0, 2, Said::Changed(Box::new(corrected))),
    ]);
    let batch = next(&mut outbox, 0, &[]).expect("news");
    assert!(batch.message.text.contains("1 h"), "{}", batch.message.text);
}

#[test]
fn what_is_known_and_what_waits_have_limits() {
    let mut outbox = outbox((0..1000).map(|id| (0, id, news(id, 1))));
    assert!(outbox.is_full());
    let ids = next(&mut outbox, 0, &[]).expect("news").message.ids;
    assert_eq!(ids.len(), 1000);
    for id in 1000..50_000 {
        outbox.push(Step {
            place: Some((0, id)),
            what: What::Said(news(id, 1)),
        });
    }
    assert_eq!(outbox.known.identities.len(), KNOWN);
    assert_eq!(outbox.known.order.len(), KNOWN);
}
