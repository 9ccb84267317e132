//! Networks by their prefix: which addresses `10.0.0.0/8` means.
//!
//! Not here: what is done with them. Invariant: an IPv4 address is the same in all its spellings,
//! so a socket for both families sees what it should.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Bits that all IPv4 addresses share when they are written as IPv6.
const MAPPED_BITS: u8 = 96;

/// An address with the length of the prefix that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    prefix_bits: u8,
}

/// The bits of an address, an IPv4 one mapped into IPv6.
pub(crate) fn bits_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Network {
    /// Whether the address is one of this network's.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        (bits_of(address) ^ self.bits) & mask(self.prefix_bits) == 0
    }
}

fn mask(prefix_bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0)
}

/// A text is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotANetwork(String);

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotANetwork {}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let none = || NotANetwork(format!("{text:?} is no network (such as 10.0.0.0/8 or ::1)"));
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| none())?;
        let (most, shared) = if address.is_ipv4() { (32, MAPPED_BITS) } else { (128, 0) };
        let prefix_bits = match prefix {
            None => most,
            Some(digits) => {
                let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                let bits = digits.parse().ok().filter(|&bits| is_plain && bits <= most);
                bits.ok_or_else(none)?
            }
        };
        let network = Self { bits: bits_of(address), prefix_bits: prefix_bits + shared };
        if network.bits & !mask(network.prefix_bits) != 0 {
            let why = format!("{text:?} has bits behind its prefix: which part is meant?");
            return Err(NotANetwork(why));
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Network;

    #[test]
    fn an_address_is_in_or_not() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..], "11.0.0.0"),
            ("192.0.2.4/30", &["192.0.2.4", "192.0.2.7"], "192.0.2.8"),
            ("192.0.2.7", &["192.0.2.7"], "192.0.2.6"),
            ("::1", &["::1"], "::2"),
            ("fd00::/8", &["fd00::1", "fdff::"], "fe00::"),
            ("2001:db8::/32", &["2001:db8:ffff::1"], "2001:db9::"),
            ("0.0.0.0/0", &["192.0.2.1", "255.255.255.255"], "2001:db8::1"),
        ] {
            let network: Network = network.parse().unwrap();
            for address in inside {
                assert!(network.contains(address.parse::<IpAddr>().unwrap()), "{address}");
            }
            assert!(!network.contains(outside.parse().unwrap()), "{outside}");
        }
        let all: Network = "::/0".parse().unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in [
            "",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "a/8",
            "10.0.0.1/8",
            "192.0.2.5/30",
            "2001:db8::1/64",
            "10.0.0.0/-1",
            "/8",
            "10.0.0.0 /8",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
    }
}
