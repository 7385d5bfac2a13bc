use std::path::Path;
use std::sync::Arc;

use changes::{Error, ErrorKind, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::{Address, TlsMode};

pub(super) async fn encrypt(address: &Address, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new(address, &provider)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, "no TLS").caused_by(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match &address.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| {
                Error::invalid("sslcert and sslkey do not belong together").caused_by(error)
            })?,
    };
    let name = ServerName::try_from(address.host.clone())
        .map_err(|error| Error::invalid("the host is no name of a server").caused_by(error))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    connecting.await.map_err(|error| refused(address, error))
}

fn refused(address: &Address, error: std::io::Error) -> Error {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidCertificate(why)) = cause {
        let hint = match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "Connect by a name that the certificate holds, or use sslmode=verify-ca."
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "Have the server's certificate renewed."
            }
            _ => {
                "Name the certificate of the authority that signed it: sslrootcert=ca.pem in source.postgres."
            }
        };
        let message = format!("the certificate of \"{}\" is not trusted", address.host);
        return Error::new(ErrorKind::Unauthenticated, message)
            .hint(hint)
            .caused_by(error);
    }
    let message = format!("\"{}\" did not agree on TLS", address.host);
    Error::new(ErrorKind::Unavailable, message).caused_by(error)
}

/// What the mode asks for, of what a verifier checks.
#[derive(Debug)]
struct Verifier {
    mode: TlsMode,
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

/// Where Debian and most others keep the authorities that the machine trusts.
const OF_THE_MACHINE: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Verifier {
    fn new(address: &Address, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let authorities = match (address.tls, &address.authorities) {
            (TlsMode::Require | TlsMode::Disable, None) => None,
            (_, Some(path)) => Some(path.as_path()),
            (_, None) => Some(Path::new(OF_THE_MACHINE)),
        };
        let authorities = authorities
            .map(|path| authority(path, provider))
            .transpose()?;
        Ok(Self {
            // As libpq does: an authority that is named is meant.
            mode: match (address.tls, &authorities) {
                (TlsMode::Require, Some(_)) => TlsMode::VerifyCa,
                (mode, _) => mode,
            },
            authorities,
            provider: Arc::clone(provider),
        })
    }
}

fn authority(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(path)?);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| unreadable(path).caused_by(error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| unreadable(path).caused_by(error))?;
    if read.is_empty() {
        return Err(unreadable(path));
    }
    Ok(read)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(path).caused_by(error))
}

fn unreadable(path: &Path) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no certificate or key in \"{}\"", path.display()),
    )
    .hint("sslrootcert, sslcert and sslkey in source.postgres name PEM files.")
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authorities) = self
            .authorities
            .as_ref()
            .filter(|_| self.mode != TlsMode::Require)
        else {
            return Ok(ServerCertVerified::assertion());
        };
        let checked = authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match checked {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.mode == TlsMode::VerifyCa => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
