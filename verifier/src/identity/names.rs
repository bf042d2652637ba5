//! Names in an LDevID's subjectAltName as the owner writes them: text with
//! variables, filled for each gateway. What is filled in cannot end a name,
//! begin another part of it, or make two gateways' names the same (ADVERSARY
//! C34, CVE-2021-27098).

use holdfast_proto::binding::Ueid;
use rustls_pki_types::DnsName;

use super::IdentityError;

/// Longest name when filled: RFC 1035 §2.3.4 for DNS; the same for URIs.
const NAME_MAX: usize = 253;
/// Names of one kind in a profile.
pub(super) const NAMES_MAX: usize = 8;

/// What a name is in subjectAltName (RFC 5280 §4.2.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Dns,
    Uri,
}

/// Text with variables. Holds at least one of `{id}` and `{id32}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameTemplate {
    kind: Kind,
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The gateway id: 66 lower-case hex digits.
    Id,
    /// Its SHA-256 part in base32 (RFC 4648 §6, lower case, no padding): 52
    /// characters, so that it fits into a DNS label of 63.
    Id32,
    /// The class.
    Class,
    /// hwSerialNum of the TPM, percent-encoded.
    Serial,
}

/// What variables stand for.
pub(super) struct Variables<'a> {
    pub(super) gateway: &'a Ueid,
    pub(super) class: &'a str,
    pub(super) serial: &'a str,
}

impl NameTemplate {
    /// A DNS name: lower-case letters, digits, `-`, `.`, and `{id32}`.
    ///
    /// # Errors
    /// [`IdentityError::BadNameTemplate`] says which rule it breaks.
    pub(super) fn dns(source: &str) -> Result<Self, IdentityError> {
        let text = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        let template = Self::parse(Kind::Dns, source, text)?;
        let foreign = |part: &Part| matches!(part, Part::Id | Part::Class | Part::Serial);
        if template.parts.iter().any(foreign) {
            return Err(bad(source, "a DNS name takes {id32} and no other variable"));
        }
        template.tried()
    }

    /// A URI: a scheme, unreserved characters and `/ : @ + , = ;` (RFC 3986
    /// §2), and any variable.
    ///
    /// # Errors
    /// As [`NameTemplate::dns`]. SPIFFE IDs have a setting of their own.
    pub(super) fn uri(source: &str) -> Result<Self, IdentityError> {
        let text = |c: char| unreserved(c) || matches!(c, '/' | ':' | '@' | '+' | ',' | '=' | ';');
        let template = Self::parse(Kind::Uri, source, text)?;
        let scheme = match template.parts.first() {
            Some(Part::Text(text)) => text.split_once(':').map(|(scheme, _)| scheme),
            _ => None,
        };
        let scheme = scheme.unwrap_or_default();
        let sound = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.chars().all(|c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.')
            });
        if !sound {
            return Err(bad(
                source,
                "a URI begins with a scheme in lower case and ':'",
            ));
        }
        if scheme == "spiffe" {
            return Err(bad(source, "SPIFFE IDs are made by spiffe_trust_domain"));
        }
        template.tried()
    }

    fn parse(kind: Kind, source: &str, text: impl Fn(char) -> bool) -> Result<Self, IdentityError> {
        let mut parts = Vec::new();
        let mut rest = source;
        while !rest.is_empty() {
            let (plain, variable) = match rest.split_once('{') {
                None => (rest, None),
                Some((plain, tail)) => {
                    let (name, tail) = tail
                        .split_once('}')
                        .ok_or_else(|| bad(source, "a variable ends with '}'"))?;
                    (plain, Some((name, tail)))
                }
            };
            if !plain.chars().all(&text) {
                return Err(bad(
                    source,
                    "it holds a character that such a name cannot have",
                ));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(plain.to_owned()));
            }
            let Some((name, tail)) = variable else { break };
            parts.push(match name {
                "id" => Part::Id,
                "id32" => Part::Id32,
                "class" => Part::Class,
                "serial" => Part::Serial,
                _ => return Err(bad(source, "variables are {id}, {id32}, {class}, {serial}")),
            });
            rest = tail;
        }
        // Without it two gateways would have one name, and whoever trusts the
        // name would take one for the other.
        if !parts.iter().any(|p| matches!(p, Part::Id | Part::Id32)) {
            return Err(bad(
                source,
                "it must hold {id} or {id32}, or gateways would share it",
            ));
        }
        Ok(Self {
            kind,
            source: source.to_owned(),
            parts,
        })
    }

    /// Once at load, so that what never fits is not found out at a gateway's
    /// expense.
    fn tried(self) -> Result<Self, IdentityError> {
        let mut id = [0xff; 33];
        id[0] = 1;
        let gateway = Ueid::parse(&id).map_err(|_| bad(&self.source, "no gateway id"))?;
        self.fill(&Variables {
            gateway: &gateway,
            class: "default",
            serial: "",
        })?;
        Ok(self)
    }

    /// The name of one gateway.
    ///
    /// # Errors
    /// [`IdentityError::BadNameTemplate`] where it comes out too long.
    pub(super) fn fill(&self, variables: &Variables<'_>) -> Result<String, IdentityError> {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Id => name.push_str(&variables.gateway.to_string()),
                Part::Id32 => name.push_str(&base32(
                    variables.gateway.as_bytes().get(1..).unwrap_or_default(),
                )),
                Part::Class => name.push_str(&percent(variables.class)),
                Part::Serial => name.push_str(&percent(variables.serial)),
            }
        }
        let fits = match self.kind {
            Kind::Dns => is_dns_name(&name),
            Kind::Uri => name.len() <= NAME_MAX,
        };
        if fits {
            Ok(name)
        } else {
            Err(bad(
                &self.source,
                "filled, it is no name: too long, or an empty or long label",
            ))
        }
    }
}

/// RFC 1123 §2.1, no wildcard, no trailing dot.
pub(super) fn is_dns_name(name: &str) -> bool {
    name.len() <= NAME_MAX && !name.ends_with('.') && DnsName::try_from(name).is_ok()
}

/// As a filled template of ours is: for certificates on file.
pub(super) fn is_uri(name: &str) -> bool {
    let allowed = |c: char| unreserved(c) || "/:@+,=;%".contains(c);
    name.len() <= NAME_MAX && name.contains(':') && name.chars().all(allowed)
}

fn unreserved(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~')
}

/// RFC 3986 §2.1; what is not unreserved cannot delimit anything any more.
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if unreserved(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// RFC 4648 §6 in lower case, without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: [char; 32] = [
        'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r',
        's', 't', 'u', 'v', 'w', 'x', 'y', 'z', '2', '3', '4', '5', '6', '7',
    ];
    let mut out = String::new();
    let (mut held, mut bits) = (0_u32, 0_u32);
    let mut push = |five: u32| {
        let index = usize::try_from(five & 31).unwrap_or(0);
        out.extend(ALPHABET.get(index));
    };
    for byte in bytes {
        held = (held << 8 | u32::from(*byte)) & 0xFFFF;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(held >> bits);
        }
    }
    if bits > 0 {
        push(held << (5 - bits));
    }
    out
}

fn bad(source: &str, why: &'static str) -> IdentityError {
    IdentityError::BadNameTemplate {
        template: source.escape_debug().to_string(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(n: u8) -> Ueid {
        Ueid::parse(&[&[1][..], &[n; 32]].concat()).unwrap()
    }

    fn fill(template: &NameTemplate, n: u8, serial: &str) -> String {
        template
            .fill(&Variables {
                gateway: &gateway(n),
                class: "edge",
                serial,
            })
            .unwrap()
    }

    #[test]
    fn base32_is_that_of_rfc_4648() {
        for (bytes, text) in [
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
        assert_eq!(base32(&[0xff; 32]).len(), 52);
    }

    #[test]
    fn names_are_filled() {
        let dns = NameTemplate::dns("{id32}.gw.example.org").unwrap();
        let name = fill(&dns, 7, "x");
        assert!(name.ends_with(".gw.example.org") && name.len() == 52 + 15);
        let uri = NameTemplate::uri("urn:example:{class}:{id}:{serial}").unwrap();
        assert_eq!(
            fill(&uri, 7, "IFX:00"),
            format!("urn:example:edge:{}:IFX%3A00", gateway(7))
        );
    }

    #[test]
    fn cve_c34_gateways_never_share_a_name() {
        for shared in ["gw.example.org", "{class}.example.org"] {
            assert!(matches!(
                NameTemplate::dns(shared),
                Err(IdentityError::BadNameTemplate { .. })
            ));
        }
        for shared in ["urn:x:{class}", "urn:x:{serial}", "https://gw.example.org/"] {
            assert!(matches!(
                NameTemplate::uri(shared),
                Err(IdentityError::BadNameTemplate { why, .. }) if why.contains("share")
            ));
        }
        let uri = NameTemplate::uri("urn:x:{serial}:{id32}").unwrap();
        assert_ne!(fill(&uri, 1, "same"), fill(&uri, 2, "same"));
    }

    #[test]
    fn cve_c34_a_serial_cannot_become_anything_but_itself() {
        let uri = NameTemplate::uri("urn:x:{serial}:{id}").unwrap();
        for hostile in [
            "{id}",
            "a:b",
            "../..",
            "a/b?c#d",
            "\0",
            "é",
            "%41",
            "spiffe://x",
        ] {
            let name = fill(&uri, 1, hostile);
            let between = name
                .strip_prefix("urn:x:")
                .and_then(|rest| rest.strip_suffix(&format!(":{}", gateway(1))))
                .unwrap();
            assert!(
                between.chars().all(|c| unreserved(c) || c == '%'),
                "{hostile:?}: {name}"
            );
        }
        // And one that is too long is no name.
        let long = Variables {
            gateway: &gateway(1),
            class: "edge",
            serial: &"x".repeat(300),
        };
        assert!(uri.fill(&long).is_err());
    }

    #[test]
    fn templates_are_held_to_their_alphabet() {
        for bad in [
            "{id32}.EXAMPLE.org",
            "*.{id32}.org",
            "{id32}..org",
            "{id}.org",
            "{id32}.example.org.",
            "{id32",
            "{ID32}.org",
            "{id32}.exa mple",
            "-{id32}/x",
            "{serial}-{id32}.org",
            &format!("{{id32}}{}.org", "x".repeat(12)),
        ] {
            assert!(NameTemplate::dns(bad).is_err(), "{bad}");
        }
        for bad in [
            "{id}",
            "{id}:x",
            "Urn:{id}",
            "1rn:{id}",
            "urn:{id}?q",
            "urn:{id}#f",
            "urn:%41{id}",
            "urn:{id}\n",
            "spiffe://td/{id}",
            "urn:{id}}",
            "",
        ] {
            assert!(NameTemplate::uri(bad).is_err(), "{bad}");
        }
    }
}
