//! A broker with a door of each kind.

use std::path::{Path, PathBuf};
use std::process::Command;

use changes::{KafkaConfig, Mechanism, Secret, Security};
use tokio::process::Child;

use crate::java::{answers, free_ports, java};

pub(crate) const PASSWORD: &str = "open sesame";
pub(crate) const KEY_PASSWORD: &str = "key sesame";

/// Ends with its owner.
pub(crate) struct Secured {
    pub(crate) folder: PathBuf,
    ports: [u16; 5],
    _process: Child,
}

/// An authority that signs a server and a client, and one that signed nobody.
const CERTIFICATES: &str = r#"
for ca in ca other; do openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$ca -keyout $ca.key -out $ca.pem; done
for name in server client stranger; do
    signer=ca; [ $name = stranger ] && signer=other
    openssl req -newkey rsa:2048 -nodes -subj /CN=$name -keyout $name.key -out $name.csr
    printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' >san
    openssl x509 -req -in $name.csr -CA $signer.pem -CAkey $signer.key -days 2 -extfile san -set_serial 1 -out $name.crt
done
openssl pkcs8 -topk8 -nocrypt -in server.key -out server.p8
cat server.p8 server.crt >server.pem
openssl pkcs8 -topk8 -in client.key -passout pass:"$KEY_PASSWORD" -out client.p8
"#;

impl Secured {
    pub(crate) async fn start(jars: &Path, folder: &Path) -> Self {
        let ports = free_ports();
        let [plain, sasl, sasl_tls, tls, controller] = ports;
        let mut openssl = Command::new("sh");
        openssl
            .args(["-ec", CERTIFICATES])
            .env("KEY_PASSWORD", KEY_PASSWORD);
        let made = openssl.current_dir(folder).output().expect("openssl runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let at = |name: &str| folder.join(name).display().to_string();
        let mut properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},SASL_SSL://127.0.0.1:{sasl_tls},\
             SSL://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,\
             SASL_SSL:SASL_SSL,SSL:SSL\ninter.broker.listener.name=PLAINTEXT\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\nlog.dirs={}\nnum.partitions=1\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\nlog.cleaner.dedupe.buffer.size=4194304\n\
             ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
             listener.name.ssl.ssl.client.auth=required\nsasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n",
            at("data"),
            at("server.pem"),
            at("ca.pem"),
        );
        let module = "org.apache.kafka.common.security";
        for listener in ["sasl_plaintext", "sasl_ssl"] {
            let key = format!("listener.name.{listener}");
            properties += &format!(
                "{key}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_plain=\"{PASSWORD}\";\n"
            );
            for digest in ["256", "512"] {
                properties += &format!(
                    "{key}.scram-sha-{digest}.sasl.jaas.config={module}.scram.ScramLoginModule required;\n"
                );
            }
        }
        std::fs::write(folder.join("server.properties"), properties).expect("written");
        let users = ["256", "512"]
            .map(|digest| format!("SCRAM-SHA-{digest}=[name=scram{digest},password={PASSWORD}]"));
        let mut arguments = vec![
            "kafka.tools.StorageTool",
            "format",
            "-t",
            "MkU3OEVBNTcwNTJENDM2Qg",
            "-c",
            "server.properties",
        ];
        for user in &users {
            arguments.extend(["--add-scram", user]);
        }
        let formatted = java(jars, folder, &arguments)
            .wait()
            .await
            .expect("it ends");
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(formatted.success(), "{log}");
        let process = java(jars, folder, &["kafka.Kafka", "server.properties"]);
        let secured = Self {
            folder: folder.to_owned(),
            ports,
            _process: process,
        };
        answers(&secured.at(Security::Plaintext)).await;
        secured
    }

    /// Without a sign-in; whatever is TLS trusts the right authority.
    pub(crate) fn at(&self, security: Security) -> KafkaConfig {
        let [plain, sasl, sasl_tls, tls, _] = self.ports;
        let (port, has_tls) = match security {
            Security::Plaintext => (plain, false),
            Security::SaslPlaintext => (sasl, false),
            Security::SaslSsl => (sasl_tls, true),
            Security::Ssl => (tls, true),
        };
        let mut kafka = KafkaConfig::default().with_brokers(format!("127.0.0.1:{port}"));
        kafka.security = security;
        if has_tls {
            kafka.ca_file = self.folder.join("ca.pem");
        }
        kafka
    }

    pub(crate) fn signed_in(&self, security: Security, mechanism: Mechanism) -> KafkaConfig {
        let username = match mechanism {
            Mechanism::ScramSha256 => "scram256",
            Mechanism::ScramSha512 => "scram512",
            Mechanism::Plain | Mechanism::Unset => "plain",
        };
        KafkaConfig {
            sasl_mechanism: mechanism,
            username: username.to_owned(),
            password: Secret::new(PASSWORD),
            ..self.at(security)
        }
    }

    /// With a certificate, its key under a password.
    pub(crate) fn certified(&self) -> KafkaConfig {
        KafkaConfig {
            certificate_file: self.folder.join("client.crt"),
            key_file: self.folder.join("client.p8"),
            key_password: Secret::new(KEY_PASSWORD),
            ..self.at(Security::Ssl)
        }
    }
}
