use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use changes::{Error, ErrorKind, Result};
use md5::Md5;
use sha2::{Digest, Sha256};

/// A sign-in by SCRAM-SHA-256 (RFC 5802 and 7677), without channel binding.
pub(super) struct Scram {
    nonce: String,
    password: Vec<u8>,
    /// What the server must prove once it believes us.
    server_signature: Option<[u8; 32]>,
}

/// More rounds would let a server that is not ours keep us busy.
const MAX_ROUNDS: u32 = 1_000_000;

impl Scram {
    pub(super) fn new(password: &str) -> Result<Self> {
        let mut random = [0; 18];
        getrandom::fill(&mut random).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("no random bytes: {error}"))
        })?;
        Ok(Self::with_nonce(password, STANDARD.encode(random)))
    }

    fn with_nonce(password: &str, nonce: String) -> Self {
        Self {
            nonce,
            password: password.as_bytes().to_vec(),
            server_signature: None,
        }
    }

    pub(super) fn first(&self) -> String {
        format!("n,,n=,r={}", self.nonce)
    }

    /// The proof that we know the password.
    pub(super) fn answer(&mut self, challenge: &str) -> Result<String> {
        let field = |name: char| {
            let mut fields = challenge.split(',');
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let malformed = || Error::new(ErrorKind::Unavailable, "the server's sign-in is malformed");
        let nonce = field('r').filter(|nonce| nonce.starts_with(&self.nonce));
        let nonce = nonce.ok_or_else(malformed)?;
        let salt = field('s').and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.ok_or_else(malformed)?;
        let rounds = field('i').and_then(|rounds| rounds.parse().ok());
        let rounds = rounds.filter(|rounds| (1..=MAX_ROUNDS).contains(rounds));
        let salted = pbkdf2(&self.password, &salt, rounds.ok_or_else(malformed)?);

        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("n=,r={},{challenge},{without_proof}", self.nonce);
        let client_key = hmac(&salted, &[b"Client Key"]);
        let signature = hmac(&Sha256::digest(client_key), &[signed.as_bytes()]);
        let proof: Vec<u8> = client_key
            .iter()
            .zip(signature)
            .map(|(a, b)| a ^ b)
            .collect();
        let server_key = hmac(&salted, &[b"Server Key"]);
        self.server_signature = Some(hmac(&server_key, &[signed.as_bytes()]));
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)))
    }

    /// Whether the server knows the password too.
    pub(super) fn is_proven_by(&self, last: &str) -> bool {
        let proof = last
            .strip_prefix("v=")
            .map(|proof| STANDARD.decode(proof.trim_end()));
        match (proof, self.server_signature) {
            (Some(Ok(proof)), Some(expected)) => proof == expected,
            _ => false,
        }
    }
}

/// The answer to a server that still asks for MD5.
pub(super) fn md5_answer(user: &str, password: &str, salt: &[u8]) -> String {
    let inner = hex(&Md5::digest(format!("{password}{user}")));
    let outer = Md5::new().chain_update(inner).chain_update(salt).finalize();
    format!("md5{}", hex(&outer))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pbkdf2(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
    let mut last = hmac(password, &[salt, &1_u32.to_be_bytes()]);
    let mut all = last;
    for _ in 1..rounds {
        last = hmac(password, &[&last]);
        all.iter_mut()
            .zip(last)
            .for_each(|(sum, byte)| *sum ^= byte);
    }
    all
}

/// RFC 2104 over SHA-256.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut inner = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36));
    for part in parts {
        inner.update(part);
    }
    let outer = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_of_rfc_7677_comes_out_but_for_the_name() {
        // PostgreSQL leaves the name empty; with it the proof would be the one printed in the RFC.
        let mut scram = Scram::with_nonce("pencil", "rOprNGfwEbeRWgbNEkqO".to_owned());
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let answer = scram.answer(challenge).expect("well-formed");
        assert!(answer.starts_with("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDp"));
        assert!(!scram.is_proven_by("v=AAAA"));
        let signature = scram.server_signature.expect("kept");
        assert!(scram.is_proven_by(&format!("v={}", STANDARD.encode(signature))));
    }

    #[test]
    fn the_vectors_of_rfc_4231_and_6070() {
        let key = [0x0b; 20];
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hex(&hmac(&key, &[b"Hi There"])), expected);
        let expected = "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a";
        assert_eq!(hex(&pbkdf2(b"password", b"salt", 4096)), expected);
    }

    #[test]
    fn a_server_that_does_not_take_up_our_nonce_is_refused() {
        let mut scram = Scram::with_nonce("x", "abc".to_owned());
        for challenge in [
            "",
            "r=xyz,s=AAAA,i=4096",
            "r=abcd,s=AAAA,i=0",
            "r=abcd,s=!,i=1",
        ] {
            assert!(scram.answer(challenge).is_err(), "{challenge}");
        }
    }
}
