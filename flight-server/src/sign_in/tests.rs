use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicI64, Ordering};

use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::ticket::issue_token;

const DAY: i64 = 24 * 60 * 60;

/// A users file with one user, at a time that the test sets.
struct Door {
    folder: tempfile::TempDir,
    seconds: Arc<AtomicI64>,
    key: TicketKey,
    sign_in: SignIn,
}

impl Door {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.toml");
        let mut users = Users::default();
        let anne = User {
            name: "anne".to_owned(),
            password: Some(password::hash_password("correct horse").expect("a hash")),
            certificate: Some("c0ffee".to_owned()),
            generation: 0,
            roles: vec!["manager".to_owned()],
            attributes: BTreeMap::from([("bu".to_owned(), "Marketing".to_owned())]),
            tokens: Vec::new(),
        };
        users.add(anne).expect("a user");
        users.store(&path).expect("stored");
        let seconds = Arc::new(AtomicI64::new(1_000_000));
        let now = seconds.clone();
        let clock: Clock = Arc::new(move || {
            let seconds = now.load(Ordering::Relaxed);
            chrono::DateTime::from_timestamp(seconds, 0).expect("a time")
        });
        let key = TicketKey::new([3; 32]);
        let sign_in = SignIn::open(path, users, key.clone(), clock).expect("open");
        Self {
            folder,
            seconds,
            key,
            sign_in,
        }
    }

    async fn comes(&self, authorization: &str) -> Result<Principal> {
        let mut headers = MetadataMap::new();
        if !authorization.is_empty() {
            headers.insert("authorization", authorization.parse().expect("ascii"));
        }
        let signed_in = self.sign_in.authenticate(&headers, &Peer::UNKNOWN).await;
        signed_in.map(|signed_in| signed_in.principal)
    }

    /// Changes the file, and has it looked at with the next call.
    fn edit(&self, change: impl FnOnce(&mut Users)) {
        let path = self.folder.path().join("users.toml");
        let mut users = Users::load(&path).expect("readable").expect("there");
        change(&mut users);
        users.store(&path).expect("stored");
        self.look_again();
    }

    fn look_again(&self) {
        let mut loaded = self.sign_in.loaded.lock();
        if let Some(long_ago) = Instant::now().checked_sub(LOOK_EVERY) {
            loaded.looked = long_ago;
        }
    }

    fn give_token(&self) -> (String, String) {
        let now = self.seconds.load(Ordering::Relaxed);
        let mut given = None;
        self.edit(|users| {
            let anne = users.find_mut("anne").expect("there");
            given = Some(issue_token(&self.key, anne, "grafana", now + DAY, now).expect("a token"));
        });
        given.expect("given")
    }
}

fn basic_of(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn refusal(result: Result<Principal>) -> String {
    let error = result.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    error.to_string()
}

#[tokio::test]
async fn a_password_signs_in_and_brings_roles() {
    let door = Door::new();
    let anne = door
        .comes(&basic_of("anne", "correct horse"))
        .await
        .expect("anne");
    assert!(!anne.is_operator());
    assert_eq!(anne.roles().collect::<Vec<_>>(), ["manager"]);
    assert_eq!(anne.attribute("bu"), Some("Marketing"));
    let unpadded = basic_of("anne", "correct horse");
    door.comes(unpadded.trim_end_matches('='))
        .await
        .expect("without padding");
}

#[tokio::test]
async fn wrong_is_wrong_in_the_same_words() {
    let door = Door::new();
    let wrong = refusal(door.comes(&basic_of("anne", "correct horsf")).await);
    assert_eq!(
        wrong,
        refusal(door.comes(&basic_of("nobody", "correct horse")).await)
    );
    assert_eq!(
        wrong,
        refusal(
            door.comes(&basic_of("nobody", "nobody has this password"))
                .await
        )
    );
    for nonsense in [
        "",
        "Basic",
        "Basic !!",
        "Basic YW5u",
        "Bearer",
        "Bearer abc",
        "Digest x",
        "x",
    ] {
        refusal(door.comes(nonsense).await);
    }
}

#[tokio::test]
async fn many_wrong_passwords_make_one_wait_even_with_the_right_one() {
    let door = Door::new();
    for n in 0..8 {
        let wrong = refusal(
            door.comes(&basic_of("anne", &format!("wrong horse {n}")))
                .await,
        );
        assert_eq!(wrong, "the user or the password is wrong");
    }
    let waits = refusal(door.comes(&basic_of("anne", "correct horse")).await);
    assert_eq!(waits, "too many wrong passwords came");
}

#[tokio::test]
async fn a_name_that_nobody_can_have_is_not_counted() {
    let door = Door::new();
    let name = "n".repeat(200);
    for _ in 0..20 {
        let refused = refusal(door.comes(&basic_of(&name, "wrong horse")).await);
        assert_eq!(refused, "the user or the password is wrong");
    }
}

#[tokio::test]
async fn a_token_signs_in_until_it_expires() {
    let door = Door::new();
    let (token, _) = door.give_token();
    door.comes(&format!("Bearer {token}"))
        .await
        .expect("a bearer");
    door.comes(&basic_of("whoever", &token))
        .await
        .expect("in the place of a password");
    door.seconds.fetch_add(DAY, Ordering::Relaxed);
    assert_eq!(
        refusal(door.comes(&format!("Bearer {token}")).await),
        "the token has expired"
    );
}

#[tokio::test]
async fn a_token_is_taken_back_alone_or_with_all_or_with_its_user() {
    let door = Door::new();
    let (first, id) = door.give_token();
    let (second, _) = door.give_token();
    door.edit(|users| {
        users
            .find_mut("anne")
            .expect("there")
            .tokens
            .retain(|token| token.id != id)
    });
    assert_eq!(
        refusal(door.comes(&format!("Bearer {first}")).await),
        "the token was taken back"
    );
    door.comes(&format!("Bearer {second}"))
        .await
        .expect("the other one is good");
    door.edit(|users| users.find_mut("anne").expect("there").generation += 1);
    assert_eq!(
        refusal(door.comes(&format!("Bearer {second}")).await),
        "the token was taken back"
    );
    let (third, _) = door.give_token();
    door.edit(|users| users.remove("anne").expect("removed"));
    assert_eq!(
        refusal(door.comes(&format!("Bearer {third}")).await),
        "the token is not valid"
    );
    refusal(door.comes(&basic_of("anne", "correct horse")).await);
}

#[tokio::test]
async fn a_forged_token_is_refused() {
    let door = Door::new();
    let (token, id) = door.give_token();
    let forged = SessionToken {
        id: 0,
        user: "anne".to_owned(),
        generation: 0,
        expires: i64::MAX,
        issued: id,
    };
    let others = TicketKey::new([4; 32]).seal(Purpose::Session, &forged);
    let other_purpose = door.key.seal(Purpose::Prepared, &forged);
    for sealed in [others, other_purpose] {
        let text = URL_SAFE_NO_PAD.encode(sealed);
        assert_eq!(
            refusal(door.comes(&format!("Bearer {text}")).await),
            "the token is not valid"
        );
    }
    let mut bytes = URL_SAFE_NO_PAD.decode(&token).expect("ours");
    for index in 0..bytes.len() {
        bytes[index] ^= 1;
        let text = URL_SAFE_NO_PAD.encode(&bytes);
        refusal(door.comes(&format!("Bearer {text}")).await);
        bytes[index] ^= 1;
    }
}

#[tokio::test]
async fn a_certificate_signs_its_user_in() {
    let door = Door::new();
    let peer = |certificate: &str| Peer {
        address: Ipv4Addr::LOCALHOST.into(),
        certificate: Some(certificate.to_owned()),
    };
    let headers = MetadataMap::new();
    let anne = door
        .sign_in
        .authenticate(&headers, &peer("c0ffee"))
        .await
        .expect("anne");
    assert_eq!(anne.principal.name(), "anne");
    assert!(
        door.sign_in
            .authenticate(&headers, &peer("decaf"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_file_that_is_gone_lets_nobody_in_and_a_broken_one_is_no_edit() {
    let door = Door::new();
    let path = door.folder.path().join("users.toml");
    let good = std::fs::read(&path).expect("there");
    std::fs::write(&path, "[[user").expect("written");
    door.look_again();
    door.comes(&basic_of("anne", "correct horse"))
        .await
        .expect("the last good one holds");
    std::fs::remove_file(&path).expect("there");
    door.look_again();
    refusal(door.comes(&basic_of("anne", "correct horse")).await);
    crate::private_file::write_private(&path, &good).expect("written");
    door.look_again();
    door.comes(&basic_of("anne", "correct horse"))
        .await
        .expect("back");
}
