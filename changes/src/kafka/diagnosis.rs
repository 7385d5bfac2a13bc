//! Why brokers do not answer, asked for after a client had no answer from them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use crate::error::{Error, ErrorKind, Result};
use crate::kafka::release::Fetch;
use crate::kafka::{KafkaConfig, Purpose};

/// How long brokers may take to say why they do not let a client in.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// How long the client's own lines are listened to each time: they come one by one, and there are many.
const LISTENED: Duration = Duration::from_millis(50);

/// Why the brokers do not answer this client; none where they do. Blocks for about five seconds at most.
pub fn diagnose(kafka: &KafkaConfig) -> Option<Error> {
    kafka_release(kafka).err()
}

/// Which release of Kafka the brokers speak like, where that is heard. Blocks for about five seconds at most.
///
/// # Errors
/// Why they do not answer this client.
pub fn kafka_release(kafka: &KafkaConfig) -> Result<Option<&'static str>> {
    let heard = Heard::default();
    let client = kafka
        .client(&Purpose::Administer)
        .set_log_level(RDKafkaLogLevel::Debug)
        // The log tells what brokers take, which the library keeps to itself.
        .set("debug", "feature")
        .create_with_context::<_, BaseProducer<Heard>>(heard.clone())
        .map_err(not_set_up)?;
    let began = Instant::now();
    loop {
        let answered = client.client().fetch_metadata(None, PAUSE);
        client.poll(LISTENED);
        let Said { complaint, fetch } = heard.0.lock().clone();
        match (answered, complaint) {
            (Ok(_), _) => return Ok(fetch.map(Fetch::release)),
            (Err(_), Some(complaint)) if complaint.is_final() => {
                return Err(complaint.explained(kafka));
            }
            (Err(error), complaint) if began.elapsed() > PATIENCE => {
                let complaint = complaint.unwrap_or_else(|| Complaint {
                    code: error
                        .rdkafka_error_code()
                        .unwrap_or(RDKafkaErrorCode::OperationTimedOut),
                    reason: String::new(),
                });
                return Err(complaint.explained(kafka));
            }
            (Err(_), _) => {}
        }
    }
}

/// A client that cannot be made: a certificate or a key that cannot be read.
fn not_set_up(error: KafkaError) -> Error {
    Error::invalid("could not set up a Kafka client")
        .hint("Check the section [kafka]: the certificate and the key must be PEM and belong together, and key_password must be the key's.")
        .caused_by(error)
}

/// What the client heard of its connections.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Said>>);

#[derive(Clone, Default)]
struct Said {
    complaint: Option<Complaint>,
    fetch: Option<Fetch>,
}

#[derive(Debug, Clone)]
struct Complaint {
    code: RDKafkaErrorCode,
    /// The library's words: a broker's address and what it answered, never a secret.
    reason: String,
}

/// The library's words for a connection that the other side closed.
const HUNG_UP: [&str; 3] = ["Disconnected", "disconnected", "Connection reset"];

impl Heard {
    fn take(&self, code: RDKafkaErrorCode, reason: &str) {
        let complaint = Complaint {
            code,
            reason: reason.to_owned(),
        };
        let mut said = self.0.lock();
        let last = &mut said.complaint;
        // That all are down follows from the reason that is known already.
        if last
            .as_ref()
            .is_none_or(|last| complaint.rank() >= last.rank())
        {
            *last = Some(complaint);
        }
    }
}

impl ClientContext for Heard {
    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        self.take(code, reason);
    }

    /// That a broker hangs up on what it does not understand is in the log alone, and so is what it takes.
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        if let Some(fetch) = Fetch::read(message) {
            self.0.lock().fetch = Some(fetch);
        } else if HUNG_UP.iter().any(|words| message.contains(words)) {
            self.take(RDKafkaErrorCode::BrokerTransportFailure, message);
        }
    }
}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}

impl Complaint {
    fn rank(&self) -> u8 {
        match self.code {
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::SSL => 3,
            RDKafkaErrorCode::AllBrokersDown => 0,
            _ if self.says("PLAINTEXT broker listener?") || self.says("SSL alert") => 3,
            _ if self.hung_up() => 2,
            _ => 1,
        }
    }

    /// Whether waiting longer would tell no more.
    fn is_final(&self) -> bool {
        self.rank() >= 3
    }

    fn hung_up(&self) -> bool {
        HUNG_UP.iter().any(|words| self.says(words))
    }

    fn says(&self, words: &str) -> bool {
        self.reason.contains(words)
    }

    fn explained(self, kafka: &KafkaConfig) -> Error {
        let (kind, message, hint) = self.words(kafka);
        let error = Error::new(kind, message).hint(hint);
        match self.reason.is_empty() {
            true => error.caused_by(self.code),
            false => error.caused_by(self.reason),
        }
    }

    fn words(&self, kafka: &KafkaConfig) -> (ErrorKind, String, &'static str) {
        use RDKafkaErrorCode as Code;
        let brokers = &kafka.brokers;
        match self.code {
            Code::UnsupportedSASLMechanism | Code::Authentication
                if self.code == Code::UnsupportedSASLMechanism
                    || self.says("nsupported SASL mechanism") =>
            {
                (
                    ErrorKind::Unauthenticated,
                    format!("the brokers at \"{brokers}\" do not take this kafka.sasl_mechanism"),
                    "Write the one that their listener has: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.",
                )
            }
            Code::Authentication | Code::SaslAuthenticationFailed => (
                ErrorKind::Unauthenticated,
                format!(
                    "the brokers at \"{brokers}\" refuse the user \"{}\" or the password",
                    kafka.username
                ),
                "Check kafka.username, kafka.sasl_mechanism, and SPORTLAKE__KAFKA__PASSWORD or the file of kafka.password_file.",
            ),
            Code::SSL if self.says("certificate verify failed") => (
                ErrorKind::Unauthenticated,
                format!("the certificate of the brokers at \"{brokers}\" is not trusted"),
                "Name the certificate of the authority that signed it in kafka.ca_file, and the brokers by a name that the certificate holds.",
            ),
            _ if self.says("PLAINTEXT broker listener?") || self.says("wrong version number") => (
                ErrorKind::Unavailable,
                format!("what listens at \"{brokers}\" speaks no TLS"),
                "Name the port of a TLS listener in kafka.brokers, or write security = \"plaintext\" or \"sasl_plaintext\".",
            ),
            _ if self.code == Code::SSL || (kafka.security.has_tls() && self.says("SSL alert")) => {
                (
                    ErrorKind::Unauthenticated,
                    format!("the brokers at \"{brokers}\" did not agree on TLS"),
                    "Where they ask clients for a certificate, name one that they trust in kafka.certificate_file and its key in kafka.key_file.",
                )
            }
            _ if self.hung_up() => (
                ErrorKind::Unavailable,
                format!(
                    "what listens at \"{brokers}\" does not speak \"{}\"",
                    kafka.security.name()
                ),
                "Write kafka.security as the listener has it: \"ssl\" or \"sasl_ssl\" where it is TLS, \"sasl_plaintext\" where it asks for a password.",
            ),
            Code::Resolve => (
                ErrorKind::Unavailable,
                format!("no broker of \"{brokers}\" has a known name"),
                "Check the names in kafka.brokers, and advertised.listeners of the brokers.",
            ),
            _ => (
                ErrorKind::Unavailable,
                format!("no broker answers at \"{brokers}\""),
                "Check kafka.brokers, and that the brokers run and listen there.",
            ),
        }
    }
}
