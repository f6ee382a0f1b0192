//! Certificates for tests: an authority of our own, and what it signs.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::keys::write_secret;

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Authority").field(self.0.der()).finish()
    }
}

impl Authority {
    /// A new authority of this name.
    ///
    /// # Errors
    /// None that a test could do something about.
    pub fn new(name: &str) -> Result<Self, rcgen::Error> {
        CertifiedIssuer::self_signed(authority(name), KeyPair::generate()?).map(Self)
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, for a day from now on, of a server and a client. A name with
    /// `://` is a URI, one that is an address is that, any other one is a DNS name.
    ///
    /// # Errors
    /// If one is not ASCII.
    pub fn issue(&self, names: &[&str]) -> Result<Issued, rcgen::Error> {
        self.issue_until(names, OffsetDateTime::now_utc() + Duration::DAY)
    }

    /// The same, of a server alone.
    ///
    /// # Errors
    /// If a name is not ASCII.
    pub fn issue_for_servers(&self, names: &[&str]) -> Result<Issued, rcgen::Error> {
        let not_after = OffsetDateTime::now_utc() + Duration::DAY;
        self.sign(names, not_after, vec![ExtendedKeyUsagePurpose::ServerAuth])
    }

    /// An authority that this one has signed for.
    ///
    /// # Errors
    /// None that a test could do something about.
    pub fn delegate(&self, name: &str) -> Result<Self, rcgen::Error> {
        CertifiedIssuer::signed_by(authority(name), KeyPair::generate()?, &self.0).map(Self)
    }

    /// The same, with its end.
    ///
    /// # Errors
    /// If a name is not ASCII.
    pub fn issue_until(
        &self,
        names: &[&str],
        not_after: OffsetDateTime,
    ) -> Result<Issued, rcgen::Error> {
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(names, not_after, usages)
    }

    fn sign(
        &self,
        names: &[&str],
        not_after: OffsetDateTime,
        usages: Vec<ExtendedKeyUsagePurpose>,
    ) -> Result<Issued, rcgen::Error> {
        let mut params = CertificateParams::default();
        for name in names {
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) if name.contains("://") => SanType::URI((*name).try_into()?),
                Err(_) => SanType::DnsName((*name).try_into()?),
            });
        }
        params.not_before = not_after - Duration::DAY * 2;
        params.not_after = not_after;
        params.extended_key_usages = usages;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

impl Issued {
    /// Writes `<name>.pem` and `<name>.key.pem` into a folder, each in place of what was there.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> std::io::Result<()> {
        write_secret(&folder.join(format!("{name}.pem")), &self.certificate)?;
        write_secret(&folder.join(format!("{name}.key.pem")), &self.key)
    }
}
