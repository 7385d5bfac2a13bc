//! The server's certificate, read again when its files change: those of a public authority last some weeks.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at, when connections come.
const LOOK: Duration = Duration::from_secs(1);

/// TLS as the newest files say that could be used.
pub(crate) struct Tls {
    files: TlsFiles,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    /// What the files looked like when they were read last, whether they could be used or not.
    seen: Vec<Option<Stamp>>,
    looked: Instant,
}

/// The file itself, and when its inode changed: unlike the time of its content, nothing can set that back, so that a
/// certificate that is copied or moved with its old time is seen too.
type Stamp = (u64, i64, i64, u64);

impl Tls {
    /// # Errors
    /// `InvalidRequest` for files that are no certificate and key that belong together.
    pub(crate) fn open(files: TlsFiles) -> Result<Self> {
        let current = Current {
            seen: files.look(),
            acceptor: files.acceptor()?,
            looked: Instant::now(),
        };
        Ok(Self {
            files,
            current: Mutex::new(current),
        })
    }

    /// For one more connection. Files that cannot be used leave what there is, so that nobody is turned away while a
    /// certificate is half replaced.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock();
        if current.looked.elapsed() < LOOK {
            return current.acceptor.clone();
        }
        current.looked = Instant::now();
        let seen = self.files.look();
        if seen != current.seen {
            current.seen = seen;
            match self.files.acceptor() {
                Ok(acceptor) => {
                    current.acceptor = acceptor;
                    tracing::info!("the certificate was replaced");
                }
                Err(error) => {
                    tracing::warn!(error = %error.with_causes(), "a new certificate cannot be used; the one before stays");
                }
            }
        }
        current.acceptor.clone()
    }
}

/// The files of a server certificate.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Whose clients are let in; without it those that have no certificate are too.
    pub(crate) client_authority: Option<PathBuf>,
}

impl TlsFiles {
    /// What tells that one of the files is another one.
    fn look(&self) -> Vec<Option<Stamp>> {
        let stamp = |file: Metadata| (file.ino(), file.ctime(), file.ctime_nsec(), file.len());
        [
            Some(&self.certificate),
            Some(&self.key),
            self.client_authority.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(|path| std::fs::metadata(path).ok().map(stamp))
        .collect()
    }

    /// # Errors
    /// `InvalidRequest` for files that are no certificate and key that belong together.
    fn acceptor(&self) -> Result<TlsAcceptor> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "TLS cannot be set up").caused_by(error)
            })?;
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|error| unusable(path, error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| unusable(path, error))?)
            }
        };
        let metadata = std::fs::metadata(&self.key).map_err(|error| unusable(&self.key, error))?;
        crate::private_file::private(&self.key, &metadata)?;
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unusable(&self.key, error))?;
        let chain = certificates(&self.certificate)?;
        let config = builder.with_single_cert(chain, key);
        let mut config = config.map_err(|error| unusable(&self.certificate, error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    let read: Vec<CertificateDer<'static>> = read.map_err(|error| unusable(path, error))?;
    match read.is_empty() {
        true => Err(
            Error::invalid(format!("\"{}\" holds no certificate", path.display()))
                .hint("Give it as PEM."),
        ),
        false => Ok(read),
    }
}

fn unusable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid(format!("\"{}\" cannot be used for TLS", path.display()))
        .hint("Give certificates and keys as PEM files that belong together.")
        .caused_by(error)
}

/// The name under which a users file knows a client certificate.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate.as_ref());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The fingerprint of the first certificate of a PEM file.
pub fn certificate_fingerprint(path: &Path) -> Result<String> {
    let all = certificates(path)?;
    Ok(all.first().map(fingerprint).unwrap_or_default())
}
