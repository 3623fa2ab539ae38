//! Which network addresses a request may reach: public unicast ones, and no others.
//!
//! The table follows the IANA special-purpose registries (RFC 6890 and its updates) and the published addresses of cloud
//! metadata services. IPv6 forms that carry an IPv4 address inside (mapped, compatible, NAT64, 6to4, Teredo) are refused
//! whole: what they lead to is decided by a router that we do not know.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// A refused address, with the range it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {range}; only public addresses may be reached, unless `[egress] allow` in headgate.toml names host and port")]
pub struct AddressDenied {
    /// The address.
    pub address: IpAddr,
    /// What the range is, in words.
    pub range: &'static str,
}

/// Says whether an address is public.
///
/// # Errors
/// [`AddressDenied`] with the range it lies in.
pub fn check(address: IpAddr) -> Result<(), AddressDenied> {
    let range = match address {
        IpAddr::V4(v4) => range_of_v4(v4),
        IpAddr::V6(v6) => range_of_v6(v6),
    };
    match range {
        Some(range) => Err(AddressDenied { address, range }),
        None => Ok(()),
    }
}

type Range<A> = (A, u32, &'static str);

const V4: [Range<Ipv4Addr>; 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an address of this network (0.0.0.0/8)"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address (10.0.0.0/8)"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a carrier's shared address (100.64.0.0/10)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address (127.0.0.0/8)"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud platform's metadata address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address, where cloud metadata services live (169.254.0.0/16)"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address (172.16.0.0/12)"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "a protocol assignment (192.0.0.0/24)"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "an address for documentation (192.0.2.0/24)"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay (192.88.99.0/24)"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address (192.168.0.0/16)"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "an address for benchmarks (198.18.0.0/15)"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "an address for documentation (198.51.100.0/24)"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "an address for documentation (203.0.113.0/24)"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address (224.0.0.0/4)"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address (240.0.0.0/4)"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "the broadcast address"),
];

/// Within `2000::/3`; what lies outside of it is refused anyway.
const V6: [Range<Ipv6Addr>; 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "a protocol assignment such as Teredo (2001::/23)"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "an address for documentation (2001:db8::/32)"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a 6to4 address, which carries an IPv4 address (2002::/16)"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "an address for documentation (3fff::/20)"),
];

/// Names for the ranges outside of `2000::/3` that are met in practice.
const V6_NAMED: [Range<Ipv6Addr>; 9] = [
    (Ipv6Addr::LOCALHOST, 128, "the loopback address (::1)"),
    (Ipv6Addr::UNSPECIFIED, 128, "the unspecified address (::)"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "an IPv4 address in IPv6 form (::ffff:0:0/96)"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 96, "an IPv4 address in IPv6 form (::/96)"),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 32, "a NAT64 address, which carries an IPv4 address (64:ff9b::/32)"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "a unique local address (fc00::/7)"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "a link-local address (fe80::/10)"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "a site-local address (fec0::/10)"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "a multicast address (ff00::/8)"),
];

fn range_of_v4(address: Ipv4Addr) -> Option<&'static str> {
    let within = |&&(network, bits, _): &&Range<Ipv4Addr>| (address.to_bits() ^ network.to_bits()) >> (32 - bits) == 0;
    V4.iter().find(within).map(|range| range.2)
}

fn range_of_v6(address: Ipv6Addr) -> Option<&'static str> {
    let within = |&&(network, bits, _): &&Range<Ipv6Addr>| (address.to_bits() ^ network.to_bits()) >> (128 - bits) == 0;
    let global_unicast = address.to_bits() >> 125 == 1;
    if global_unicast {
        V6.iter().find(within).map(|range| range.2)
    } else {
        Some(V6_NAMED.iter().find(within).map_or("outside of global unicast (2000::/3)", |range| range.2))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Both ends of every refused range are refused, and its public neighbours are not.
    #[test]
    fn ranges_have_exact_ends() {
        for refused in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.0.0",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:808:808::1",
            "fc00::1",
            "fdff::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "4000::1",
            "5f00::1",
        ] {
            assert!(check(refused.parse().expect(refused)).is_err(), "{refused}");
        }
        for public in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700::1",
            "2003::1",
            "2a00::1",
            "3fff:f000::1",
        ] {
            assert_eq!(check(public.parse().expect(public)), Ok(()), "{public}");
        }
    }

    proptest! {
        /// No IPv6 form of a private IPv4 address gets through where the IPv4 address itself does not.
        #[test]
        fn no_address_hides_in_another_form(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            for prefix in [0_u128, 0xffff << 32, 0x64_ff9b << 96] {
                prop_assert!(check(Ipv6Addr::from_bits(prefix | u128::from(bits)).into()).is_err());
            }
            prop_assert!(check(Ipv6Addr::from_bits((0x2002 << 112) | (u128::from(bits) << 80)).into()).is_err());
            if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_unspecified() {
                prop_assert!(check(v4.into()).is_err());
            }
        }
    }
}
