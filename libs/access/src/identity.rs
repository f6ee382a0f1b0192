//! The name in a client's certificate, whether it came to us with the certificate or in the header
//! of a sidecar that has checked it.

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The longest name: that of a SPIFFE id.
const MAX_NAME: usize = 2_048;
/// The longest label of a DNS name.
const MAX_LABEL: usize = 63;

/// Why there is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum NameError {
    /// It is not X.509.
    Unreadable,
    /// It has neither a URI nor a DNS name.
    NoName,
    /// It has several, so that it is not known which one counts.
    Several,
    /// A name that is none.
    Odd,
    /// The header is not what Envoy writes.
    Header,
}

impl NameError {
    /// The words of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "the certificate cannot be read",
            Self::NoName => "the certificate names neither a URI nor a DNS name",
            Self::Several => "the certificate names several URIs, or several DNS names and no URI",
            Self::Odd => "the certificate names what is neither a SPIFFE id nor a DNS name",
            Self::Header => "the sidecar's header cannot be read",
        }
    }
}

/// The name in a client's certificate, given in DER: a SPIFFE id or a DNS name. Whether an
/// authority has signed it is not looked at.
///
/// # Errors
/// If it cannot be read, or has no name or several.
pub fn certificate_name(der: &[u8]) -> Result<String, NameError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| NameError::Unreadable)?;
    let names = certificate.subject_alternative_name().map_err(|_| NameError::Unreadable)?;
    let names = names.map_or(&[][..], |extension| &extension.value.general_names);
    // Of a name that is no text it is not known whether it is another one.
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return Err(NameError::Odd);
    }
    let uris = names
        .iter()
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    let dns = names
        .iter()
        .filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
    the_one(uris, dns)
}

/// The name that counts: the one URI, as SPIFFE has it, or else the one DNS name.
fn the_one<'a>(
    mut uris: impl Iterator<Item = &'a str>,
    mut dns: impl Iterator<Item = &'a str>,
) -> Result<String, NameError> {
    let (uri, name) = (uris.next(), dns.next());
    let (name, more) = match (uri, name) {
        (Some(uri), _) => (uri, uris.next()),
        (None, Some(name)) => (name, dns.next()),
        (None, None) => return Err(NameError::NoName),
    };
    if more.is_some() {
        return Err(NameError::Several);
    }
    if is_name(name) { Ok(name.to_owned()) } else { Err(NameError::Odd) }
}

/// Whether it is a SPIFFE id, such as `spiffe://cluster.local/ns/shop/sa/web`, or a DNS name in
/// lower case without a wildcard.
pub(crate) fn is_name(text: &str) -> bool {
    if text.len() > MAX_NAME {
        return false;
    }
    let Some(id) = text.strip_prefix("spiffe://") else { return is_dns(text) };
    let Some((domain, path)) = id.split_once('/') else { return false };
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let segment = |segment: &str| {
        !segment.is_empty() && segment != "." && segment != ".." && segment.chars().all(fits)
    };
    !domain.is_empty()
        && domain.chars().all(|c| fits(c) && !c.is_ascii_uppercase())
        && path.split('/').all(segment)
}

fn is_dns(text: &str) -> bool {
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// The client in Envoy's header `x-forwarded-client-cert`. A proxy appends an element for its own
/// client, so that only the last one was written by the sidecar beside us; what stands before it
/// may come from anywhere. A header that is malformed at any place is refused whole, as its
/// elements cannot be told apart.
///
/// # Errors
/// If it cannot be read, or the last element has no name or several.
pub fn forwarded_client(header: &str) -> Result<String, NameError> {
    let mut rest = header;
    loop {
        let (element, more) = element(rest)?;
        match more {
            Some(more) => rest = more,
            None => {
                let of = |key: &'static str| {
                    element
                        .iter()
                        .filter(move |(name, _)| name.eq_ignore_ascii_case(key))
                        .map(|(_, value)| value.as_str())
                        // Envoy writes the key even where the certificate has no such name.
                        .filter(|value| !value.is_empty())
                };
                return the_one(of("URI"), of("DNS"));
            }
        }
    }
}

/// The pairs of an element, in their order.
type Element<'a> = Vec<(&'a str, String)>;

/// The first element of a header's text, and what stands behind the comma after it.
fn element(text: &str) -> Result<(Element<'_>, Option<&str>), NameError> {
    let mut pairs = Vec::new();
    let mut rest = text;
    loop {
        let (key, behind) = rest.split_once('=').ok_or(NameError::Header)?;
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(NameError::Header);
        }
        let (value, behind) = value(behind)?;
        pairs.push((key, value));
        match behind.chars().next() {
            None => return Ok((pairs, None)),
            Some(';') => rest = &behind[1..],
            // Some proxies put a space behind the comma.
            Some(',') => return Ok((pairs, Some(behind[1..].trim_start()))),
            Some(_) => return Err(NameError::Header),
        }
    }
}

/// A value, and what stands behind it. One in quotation marks may hold what separates values; a
/// quotation mark in it has a backslash before it.
fn value(text: &str) -> Result<(String, &str), NameError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        if value.contains(['"', '=']) {
            return Err(NameError::Header);
        }
        return Ok((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' if quoted[at + 1..].starts_with('"') => {
                value.push('"');
                characters.next();
            }
            _ => value.push(c),
        }
    }
    Err(NameError::Header)
}

/// The client in Linkerd's header `l5d-client-id`: a DNS name or a SPIFFE id.
///
/// # Errors
/// If it is neither.
pub fn client_id(header: &str) -> Result<String, NameError> {
    the_one([header].into_iter().filter(|text| !text.is_empty()), std::iter::empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
    const EVE: &str = "spiffe://cluster.local/ns/shop/sa/eve";

    #[test]
    fn names_are_spiffe_ids_and_dns_names() {
        for name in [
            WEB,
            "spiffe://prod.example.org/web",
            "spiffe://td_1/A/b.c-d_e",
            "web.shop.example.com",
            "web.shop.serviceaccount.identity.linkerd.cluster.local",
            "web",
        ] {
            assert!(is_name(name), "{name}");
        }
        for odd in [
            "",
            "spiffe://",
            "spiffe://cluster.local",
            "spiffe://cluster.local/",
            "spiffe://cluster.local/ns//web",
            "spiffe://cluster.local/ns/../web",
            "spiffe://Cluster.local/web",
            "spiffe://cluster.local:443/web",
            "spiffe://user@cluster.local/web",
            "spiffe://cluster.local/web?x=1",
            "spiffe://cluster.local/web#x",
            "spiffe://cluster.local/w%65b",
            "SPIFFE://cluster.local/web",
            "https://shop.example.com/web",
            "*.shop.example.com",
            "Web.example.com",
            "web..example.com",
            "web.example.com.",
            "-web.example.com",
            "web\0.example.com",
            "web example.com",
        ] {
            assert!(!is_name(odd), "{odd:?}");
        }
    }

    #[test]
    fn the_last_element_of_envoys_header_counts() {
        for (header, name) in [
            // As Istio's sidecar writes it.
            (
                format!(
                    "By=spiffe://cluster.local/ns/flashsale/sa/checkout;Hash=ab12;Subject=\"\";URI={WEB}"
                ),
                WEB,
            ),
            (format!("By=a;Hash=b;URI={EVE},By=a;Hash=b;URI={WEB}"), WEB),
            (
                format!(
                    "Hash=b;URI={EVE}, Hash=b;Subject=\"CN=web,O=\\\"x\\\"\";URI={WEB};DNS=web.example.com"
                ),
                WEB,
            ),
            ("Hash=b;DNS=web.example.com".to_owned(), "web.example.com"),
            ("Hash=b;Subject=\"\";URI=;DNS=web.example.com".to_owned(), "web.example.com"),
            (format!("hash=b;uri={WEB}"), WEB),
            (format!("Hash=b;URI=\"{WEB}\""), WEB),
        ] {
            assert_eq!(forwarded_client(&header).as_deref(), Ok(name), "{header}");
        }
        for (header, error) in [
            (String::new(), NameError::Header),
            ("Hash=b".to_owned(), NameError::NoName),
            (format!("URI={EVE},Hash=b"), NameError::NoName),
            (format!("URI={EVE};URI={WEB}"), NameError::Several),
            ("DNS=a.example.com;DNS=b.example.com".to_owned(), NameError::Several),
            ("URI=https://shop.example.com".to_owned(), NameError::Odd),
            ("URI=".to_owned(), NameError::NoName),
            (format!("URI={WEB},"), NameError::Header),
            (format!("URI={WEB};"), NameError::Header),
            (format!("Subject=\"x;URI={WEB}"), NameError::Header),
            (format!("Subject=\"x\"y;URI={WEB}"), NameError::Header),
            (format!("nonsense,URI={WEB}"), NameError::Header),
        ] {
            assert_eq!(forwarded_client(&header), Err(error), "{header}");
        }
    }

    #[test]
    fn linkerds_header_is_a_name() {
        let name = "web.shop.serviceaccount.identity.linkerd.cluster.local";
        assert_eq!(client_id(name).as_deref(), Ok(name));
        assert_eq!(client_id(WEB).as_deref(), Ok(WEB));
        assert_eq!(client_id(""), Err(NameError::NoName));
        assert_eq!(client_id(&format!("{name}, {name}")), Err(NameError::Odd));
    }

    proptest! {
        /// Whatever a caller sends, the sidecar's own element behind it counts, or the whole header
        /// is refused.
        #[test]
        fn what_stands_before_the_last_element_names_no_caller(
            sent in "[A-Za-z=;,\"\\\\ :/.]{0,40}",
            subject in prop_oneof![Just(""), Just("Subject=\"\";"), Just("Subject=\"CN=web\";")],
        ) {
            let header = format!("{sent},By=us;Hash=ab;{subject}URI={WEB}");
            if let Ok(name) = forwarded_client(&header) {
                prop_assert_eq!(name, WEB);
            }
        }

        /// A certificate with any byte changed is read or refused.
        #[test]
        fn no_certificate_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut der = certificate(&[SanType::URI(WEB.try_into().unwrap())]);
            let at = at.index(der.len());
            der[at] = byte;
            let _ = certificate_name(&der);
        }
    }

    fn certificate(names: &[SanType]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_has_one_name() {
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
        let of = |names: &[SanType]| certificate_name(&certificate(names));
        assert_eq!(of(&[uri(WEB)]).as_deref(), Ok(WEB));
        assert_eq!(of(&[dns("web.example.com"), uri(WEB)]).as_deref(), Ok(WEB));
        assert_eq!(of(&[dns("web.example.com")]).as_deref(), Ok("web.example.com"));
        assert_eq!(of(&[]), Err(NameError::NoName));
        assert_eq!(of(&[uri(WEB), uri(EVE)]), Err(NameError::Several));
        assert_eq!(of(&[dns("a.b"), dns("b.c")]), Err(NameError::Several));
        assert_eq!(of(&[uri("https://web")]), Err(NameError::Odd));
        // A second name whose bytes are no text.
        let mut der = certificate(&[uri(WEB), dns("second.example.com")]);
        let at = der.windows(6).position(|bytes| bytes == b"second").unwrap();
        der[at] = 0xff;
        assert_eq!(certificate_name(&der), Err(NameError::Odd));
        assert_eq!(certificate_name(b"no certificate"), Err(NameError::Unreadable));
    }
}
