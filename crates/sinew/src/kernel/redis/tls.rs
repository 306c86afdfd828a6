//! TLS: rustls with ring, the system's authorities or one's own, a client certificate.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::target::{HostPort, TlsSetting};
use crate::kernel::error::{Error, ErrorKind, Result};

/// The settings as rustls wants them: read and checked once a link.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// # Errors
    /// `Misconfigured`, naming the file that will not do.
    pub(super) fn new(setting: &TlsSetting) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::misconfigured("TLS cannot be set up").with_source(e))?
            .with_root_certificates(authorities(setting.ca.as_deref())?);
        let config = match &setting.client {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = certificates(cert)?;
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|e| unreadable("a private key", key).with_source(e))?;
                config.with_client_auth_cert(chain, private).map_err(|e| {
                    Error::misconfigured(format!(
                        "the client certificate {} and the key {} do not belong together",
                        cert.display(),
                        key.display()
                    ))
                    .with_source(e)
                })?
            }
        };
        let server_name = setting.server_name.clone().map(|name| {
            ServerName::try_from(name)
                .map_err(|e| Error::misconfigured("server_name is not a host name").with_source(e))
        });
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name: server_name.transpose()?,
        })
    }

    /// # Errors
    /// `Misconfigured` for a certificate that will not do, else what the socket said.
    pub(super) async fn wrap(
        &self,
        socket: TcpStream,
        at: &HostPort,
    ) -> Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(at.host.clone()).map_err(|e| {
                Error::misconfigured(format!("{at}: not a name that a certificate can have"))
                    .with_source(e)
            })?,
        };
        self.connector.connect(name, socket).await.map_err(|e| told_by(e, &at.to_string()))
    }
}

fn authorities(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let trusted = match ca {
        Some(file) => certificates(file)?,
        // Single files of the system that cannot be read are not our trouble.
        None => rustls_native_certs::load_native_certs().certs,
    };
    let (added, _) = roots.add_parsable_certificates(trusted);
    if added == 0 {
        let whose = ca.map_or("of the system".to_owned(), |file| format!("in {}", file.display()));
        return Err(Error::misconfigured(format!(
            "no certificate authority {whose}: expected PEM certificates, named by ?ca=FILE"
        )));
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    let found = read().map_err(|e| unreadable("certificates", file).with_source(e))?;
    match found.is_empty() {
        true => Err(unreadable("certificates", file)),
        false => Ok(found),
    }
}

fn unreadable(what: &str, file: &Path) -> Error {
    Error::misconfigured(format!("cannot read {what} from {}: expected a PEM file", file.display()))
}

/// What a failure of TLS means. Some come only with the first reply: a server refuses a client's
/// certificate after the client has finished its part.
pub(super) fn told_by(error: io::Error, at: &str) -> Error {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error as Tls};
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Tls>());
    let misconfigured =
        |what: &str| Error::misconfigured(format!("TLS with Redis at {at}: {what}"));
    let told = match inner {
        Some(Tls::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature)) => misconfigured(
            "its certificate is of an unknown authority; expected one named by ?ca=FILE, or known to this system",
        ),
        Some(Tls::InvalidCertificate(
            Bad::NotValidForName | Bad::NotValidForNameContext { .. },
        )) => misconfigured(
            "its certificate is for another name; expected ?server_name=NAME to say which",
        ),
        Some(Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. })) => {
            misconfigured("its certificate has expired")
        }
        Some(Tls::InvalidCertificate(_)) => misconfigured("its certificate is not acceptable"),
        Some(Tls::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure)) => {
            misconfigured("it wants a client certificate; expected ?cert=FILE&key=FILE")
        }
        Some(Tls::AlertReceived(_)) => {
            misconfigured("it refused the client certificate or the protocol version")
        }
        Some(Tls::InvalidMessage(_)) => {
            misconfigured("it does not speak TLS; expected redis:// for this port, or its TLS port")
        }
        _ => Error::new(
            ErrorKind::Unavailable { maybe_applied: false },
            format!("cannot reach Redis at {at} over TLS"),
        ),
    };
    told.with_source(error)
}
