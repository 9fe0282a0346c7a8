//! The version_information transport parameter (RFC 9368 section 3).

use crate::{DecodeError, Reader, Role, Version};

/// What an endpoint says of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInformation {
    /// The version that it has chosen for this connection: a client, the one that its first flight has; a
    /// server, the one that the connection goes on with.
    pub chosen: Version,
    /// A client: all versions that its first flight can be read as, most wanted first, the chosen one
    /// among them. A server: all versions that it is deployed with, in no order. Reserved versions may be
    /// among them, which nobody speaks.
    pub available: Vec<Version>,
}

impl VersionInformation {
    /// The parameter's value.
    pub fn encode(&self) -> Vec<u8> {
        std::iter::once(&self.chosen).chain(&self.available).flat_map(|version| version.0.to_be_bytes()).collect()
    }

    /// Reads the value that `sender` sent.
    ///
    /// # Errors
    /// RFC 9368 section 4: it has no whole number of versions or none at all, one of them is 0, or a client
    /// has chosen what it does not name.
    // RFC 9368 section 4#4#5#6.
    pub fn decode(value: &[u8], sender: Role) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed("version_information");
        let mut reader = Reader::new(value);
        let version = |reader: &mut Reader<'_>| match reader.u32() {
            Ok(0) | Err(_) => Err(malformed),
            Ok(number) => Ok(Version(number)),
        };
        let chosen = version(&mut reader)?;
        let mut available = Vec::with_capacity(reader.remaining() / 4);
        while !reader.is_empty() {
            available.push(version(&mut reader)?);
        }
        if sender == Role::Client && !available.contains(&chosen) {
            return Err(malformed);
        }
        Ok(Self { chosen, available })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who may send it: nobody, a server, or both.
    fn senders(value: &[u8]) -> [bool; 2] {
        [Role::Client, Role::Server].map(|sender| VersionInformation::decode(value, sender).is_ok())
    }

    #[test]
    // RFC 9368 section 4#5#6.
    fn the_rules_of_section_4() {
        const V1: [u8; 4] = [0, 0, 0, 1];
        const V2: [u8; 4] = [0x6b, 0x33, 0x43, 0xcf];
        const RESERVED: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];
        let cases: [(&[[u8; 4]], [bool; 2]); 9] = [
            (&[], [false, false]),
            // A server may name none; a client must name what it has chosen.
            (&[V1], [false, true]),
            (&[V1, V1], [true, true]),
            (&[V1, V2], [false, true]),
            (&[V1, V2, V1], [true, true]),
            (&[V2, RESERVED, V1, V2], [true, true]),
            (&[[0; 4], V1], [false, false]),
            (&[V1, V1, [0; 4]], [false, false]),
            (&[V1, [0; 4], V1], [false, false]),
        ];
        for (versions, expected) in cases {
            let value = versions.concat();
            assert_eq!(senders(&value), expected, "{versions:x?}");
            for cut in 1..4 {
                let short = value.len().checked_sub(cut).map(|len| &value[..len]);
                assert!(short.is_none_or(|value| senders(value) == [false; 2]), "{versions:x?} without {cut} bytes");
            }
            if let Ok(read) = VersionInformation::decode(&value, Role::Server) {
                assert_eq!(read.encode(), value);
            }
        }
    }
}
