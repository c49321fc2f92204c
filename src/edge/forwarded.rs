//! Who the client is, where a proxy that is trusted carries its requests.
//!
//! Every proxy adds the address that it sees to the right of `x-forwarded-for`, behind whatever a client
//! wrote there. So the field is read from the right, and only for as long as the one who wrote an entry is
//! trusted: what is further left may be anybody's invention.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// Entries that are looked at. No way to us has as many proxies.
const ENTRIES: usize = 32;
/// Bytes of an entry that can be an address: an IPv6 one with an IPv4 one in it, in brackets, with a port.
const ENTRY: usize = 53;

const FIELD: &str = "x-forwarded-for";

/// Whether `address` is that of a trusted proxy.
pub fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// The address of the client whose request came from `peer`: the first that is not trusted, from `peer` on
/// to the left. Where there is none, the last that was trusted.
pub fn client(trusted: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if trusted.is_empty() || !is_trusted(trusted, peer) {
        return peer;
    }
    let mut client = peer;
    // Lines of one field are one list, in their order (RFC 9110 section 5.3).
    let lines = headers.get_all(FIELD).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for entry in entries.take(ENTRIES) {
        // What can't be read was not written by a proxy, or not by one that says who came to it.
        let Some(address) = address(entry) else { break };
        client = address;
        if !is_trusted(trusted, address) {
            break;
        }
    }
    client
}

/// An address, with or without a port; with one, that of IPv6 is in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry.trim_ascii()).ok().filter(|it| it.len() <= ENTRY)?;
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || entry.parse::<SocketAddr>().ok().filter(without_zone).map(|it| it.ip());
    let address = entry.parse().ok().or_else(bracketed).or_else(with_port)?;
    Some(IpAddr::to_canonical(&address))
}

/// A zone is a name of a link of somebody else's.
fn without_zone(address: &SocketAddr) -> bool {
    matches!(address, SocketAddr::V4(_))
        || matches!(address, SocketAddr::V6(it) if it.scope_id() == 0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn trusted() -> Vec<IpNet> {
        ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("a network")).to_vec()
    }

    fn from(peer: &str, lines: &[&[u8]]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FIELD, HeaderValue::from_bytes(line).expect("a value"));
        }
        client(&trusted(), ip(peer), &headers)
    }

    #[test]
    fn the_first_from_the_right_that_is_not_trusted_is_the_client() {
        for (client, lines) in [
            ("10.0.0.1", &[][..]),
            ("192.0.2.1", &["192.0.2.1"]),
            ("192.0.2.1", &["198.51.100.7, 192.0.2.1"]),
            ("192.0.2.1", &["198.51.100.7,192.0.2.1,10.9.9.9 , fd00::1"]),
            ("192.0.2.1", &["198.51.100.7", "192.0.2.1", "10.9.9.9,10.8.8.8"]),
            ("10.7.7.7", &["10.7.7.7, 10.8.8.8"]),
            ("192.0.2.1", &["192.0.2.1:4711"]),
            ("2001:db8::1", &["2001:db8::1"]),
            ("2001:db8::1", &["[2001:db8::1]"]),
            ("2001:db8::1", &["[2001:db8::1]:4711, [fd00::1]:80, 10.1.1.1:80"]),
            ("192.0.2.1", &["::ffff:192.0.2.1, ::ffff:10.0.0.3"]),
            (
                "2001:db8:ffff:ffff:ffff:ffff:192.168.100.100",
                &["[2001:0db8:ffff:ffff:ffff:ffff:192.168.100.100]:65535"],
            ),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(from("10.0.0.1", &lines), ip(client), "{lines:?}");
        }
    }

    #[test]
    fn whoever_is_not_trusted_says_nothing_of_others() {
        assert_eq!(from("192.0.2.9", &[b"198.51.100.7"]), ip("192.0.2.9"));
        assert_eq!(from("::ffff:192.0.2.9", &[b"198.51.100.7"]).to_canonical(), ip("192.0.2.9"));
        assert_eq!(from("::ffff:10.0.0.1", &[b"192.0.2.1"]), ip("192.0.2.1"), "a mapped proxy");
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static(FIELD),
            HeaderValue::from_static("198.51.100.7"),
        )]);
        assert_eq!(client(&[], ip("10.0.0.1"), &headers), ip("10.0.0.1"));
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk() {
        for entry in [
            "",
            " ",
            "unknown",
            "_hidden",
            "192.0.2.1.",
            "192.0.2",
            "0xc0.0.2.1",
            "192.0.02.1",
            "192.0.2.1:",
            "192.0.2.1:x",
            "192.0.2.1:65536",
            "2001:db8::1:65536:1",
            "[192.0.2.1]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]:",
            "[[2001:db8::1]]",
            "fe80::1%eth0",
            "[fe80::1%1]:80",
            "\"192.0.2.1\"",
            "for=192.0.2.1",
            "192.0.2.1 198.51.100.7",
            "\u{661}.0.0.1",
        ] {
            let line = format!("198.51.100.7, {entry}, 10.2.2.2");
            assert_eq!(from("10.0.0.1", &[line.as_bytes()]), ip("10.2.2.2"), "{entry:?}");
            assert_eq!(from("10.0.0.1", &[b"198.51.100.7", entry.as_bytes()]), ip("10.0.0.1"));
        }
        assert_eq!(from("10.0.0.1", &[b"198.51.100.7, \xff, 10.2.2.2"]), ip("10.2.2.2"));
        let long = [b"198.51.100.7, ", &[b'1'; 60_000][..], b", 10.2.2.2"].concat();
        assert_eq!(from("10.0.0.1", &[&long]), ip("10.2.2.2"));
    }

    #[test]
    fn a_list_without_an_end_is_left() {
        let many = format!("192.0.2.1{}", ", 10.2.2.2".repeat(5_000));
        assert_eq!(from("10.0.0.1", &[many.as_bytes()]), ip("10.2.2.2"));
    }

    fn anyone() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
            any::<[u8; 3]>().prop_map(|[a, b, c]| IpAddr::from([10, a, b, c])),
        ]
    }

    fn written(address: IpAddr, form: u8) -> String {
        match (address, form % 3) {
            (IpAddr::V6(it), 1) => format!("[{it}]"),
            (it, 2) => SocketAddr::new(it, u16::from(form)).to_string(),
            (it, _) => it.to_string(),
        }
    }

    proptest! {
        /// Nobody who is not trusted can have anything left of their own address believed.
        #[test]
        fn what_a_client_writes_changes_nothing(
            invented in prop::collection::vec("[ -~]{0,40}", 0..4),
            real in anyone(), form in any::<u8>(),
            hops in prop::collection::vec(any::<[u8; 3]>(), 0..6), cut in any::<bool>(),
        ) {
            prop_assume!(!is_trusted(&trusted(), real));
            let hops = hops.iter().map(|[a, b, c]| format!("10.{a}.{b}.{c}"));
            let honest: Vec<_> = std::iter::once(written(real, form)).chain(hops).collect();
            let (invented, honest) = (invented.join(","), honest.join(" ,"));
            let joined = format!("{invented},{honest}");
            let lines = if cut { vec![invented.as_bytes(), honest.as_bytes()] } else { vec![joined.as_bytes()] };
            prop_assert_eq!(from("10.0.0.1", &lines), real.to_canonical());
        }

        /// One list is the same however it is cut into lines.
        #[test]
        fn lines_are_one_list(
            entries in prop::collection::vec((anyone(), any::<u8>(), any::<bool>()), 1..10),
        ) {
            let mut lines = vec![String::new()];
            for (n, (address, form, cut)) in entries.iter().enumerate() {
                match (n, cut) {
                    (0, _) => {}
                    (_, true) => lines.push(String::new()),
                    (_, false) => lines.last_mut().expect("a line").push(','),
                }
                lines.last_mut().expect("a line").push_str(&written(*address, *form));
            }
            let (one, many) = (lines.join(", "), lines.iter().map(|it| it.as_bytes()).collect::<Vec<_>>());
            prop_assert_eq!(from("10.0.0.1", &[one.as_bytes()]), from("10.0.0.1", &many));
        }

        #[test]
        fn an_address_is_read_in_all_its_forms(it in anyone(), form in any::<u8>()) {
            prop_assert_eq!(address(written(it, form).as_bytes()), Some(it.to_canonical()));
        }

        #[test]
        fn nothing_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = address(&line);
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                from("10.0.0.1", &[value.as_bytes()]);
            }
        }
    }
}
