//! `listeners`: where the process listens.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{authorities, pair, section, value};
use crate::config::reader::{Cursor, Fields, Keys, Reader};
use crate::config::valid::{AdminListener, Listeners, MetricsListener, ProxyListener, TlsFiles};

pub(in crate::config) const KEYS: Keys = Keys {
    known: &["proxy", "admin", "metrics"],
    renamed: &[
        ("http", "proxy"),
        ("https", "proxy"),
        ("public", "proxy"),
        ("prometheus", "metrics"),
    ],
    later: &[],
};

pub(in crate::config) const PROXY: Keys =
    Keys { known: &["address", "tls", "h2c", "trusted_proxies"], renamed: PROXY_NAMES, later: &[] };

pub(in crate::config) const ADMIN: Keys =
    Keys { known: &["address", "tls", "allow"], renamed: ALLOW_NAMES, later: &[] };

pub(in crate::config) const METRICS: Keys =
    Keys { known: &["address", "tls", "allow", "bearer_token"], renamed: ALLOW_NAMES, later: &[] };

pub(in crate::config) const TLS: Keys = Keys {
    known: &["certificate", "key", "client_ca"],
    renamed: &[
        ("cert", "certificate"),
        ("cert_file", "certificate"),
        ("ssl_certfile_path", "certificate"),
        ("private_key", "key"),
        ("key_file", "key"),
        ("ssl_keyfile_path", "key"),
        ("ca", "client_ca"),
    ],
    later: &[],
};

/// What the keys of any listener are called elsewhere, and those that only some have.
macro_rules! names {
    ($($own:expr),*) => {
        &[
            ("listen", "address"),
            ("bind", "address"),
            ("host", "address"),
            ("port", "address"),
            ("cert", "tls.certificate"),
            ("http2", "h2c"),
            $($own),*
        ]
    };
}

const PROXY_NAMES: &[(&str, &str)] = names![
    ("use_x_forwarded_for", "trusted_proxies"),
    ("forwarded_allow_ips", "trusted_proxies"),
    ("trusted_ips", "trusted_proxies")
];

/// Of the listeners that let only some addresses in.
const ALLOW_NAMES: &[(&str, &str)] =
    names![("allowed_ips", "allow"), ("allow_list", "allow"), ("token", "bearer_token")];

const PROXY_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 8081;
const METRICS_PORT: u16 = 9464;

/// Reads the three listeners.
pub(super) fn listeners(reader: &mut Reader<'_>, at: Option<Cursor<'_>>) -> Listeners {
    let fields = section(reader, at.as_ref(), &KEYS);
    let get = |key| fields.as_ref().and_then(|fields| fields.get(key));
    let (proxy, admin, metrics) = (get("proxy"), get("admin"), get("metrics"));
    let listeners = Listeners {
        proxy: proxy_listener(reader, proxy.as_ref()),
        admin: admin_listener(reader, admin.as_ref()),
        metrics: metrics_listener(reader, metrics.as_ref()),
    };
    let named = [
        ("proxy", listeners.proxy.address, proxy),
        ("admin", listeners.admin.address, admin),
        ("metrics", listeners.metrics.address, metrics),
    ];
    for (index, (name, address, at)) in named.iter().enumerate() {
        let same = |other: &&(_, SocketAddr, _)| other.1 == *address && address.port() != 0;
        let Some((first, _, first_at)) = named[..index].iter().find(same) else { continue };
        // Defaults differ, so that at least one of the two was written.
        let (at, other) = match (at, first_at) {
            (Some(at), _) => (at, first),
            (None, Some(first_at)) => (first_at, name),
            (None, None) => continue,
        };
        let message = format!("{address} is the address of `{other}` already");
        reader.wrong(at, message, "give each listener an address of its own");
    }
    listeners
}

fn proxy_listener(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> ProxyListener {
    let fields = section(reader, at, &PROXY);
    let address = address(reader, fields.as_ref(), PROXY_PORT);
    let tls = value(reader, fields.as_ref(), "tls", tls);
    let h2c = value(reader, fields.as_ref(), "h2c", |reader, at| {
        let h2c = reader.boolean(at)?;
        if !h2c {
            return Some(false);
        }
        if fields.as_ref().is_some_and(|fields| fields.get("tls").is_some()) {
            let hint = "leave `h2c` out: TLS agrees on HTTP/2 by itself";
            reader.wrong(at, "h2c is HTTP/2 without TLS, and there is `tls`", hint);
        } else if !address.ip().is_loopback() {
            let message = "h2c on an address that others can reach: a client that sends nothing \
                           would be waited for without a limit";
            if reader.production {
                reader.wrong(at, message, "use `tls`, or listen on 127.0.0.1");
            } else {
                let hint = "production refuses it; use `tls`, or listen on 127.0.0.1";
                reader.report.warning(at.place(), &at.path, message, hint);
            }
        }
        Some(true)
    });
    let trusted = value(reader, fields.as_ref(), "trusted_proxies", trusted_proxies);
    ProxyListener {
        address,
        tls,
        h2c: h2c.unwrap_or(false),
        trusted_proxies: trusted.unwrap_or_default(),
    }
}

fn admin_listener(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> AdminListener {
    let fields = section(reader, at, &ADMIN);
    AdminListener {
        address: address(reader, fields.as_ref(), ADMIN_PORT),
        tls: value(reader, fields.as_ref(), "tls", tls),
        allow: value(reader, fields.as_ref(), "allow", allow).unwrap_or_else(loopback),
    }
}

fn metrics_listener(reader: &mut Reader<'_>, at: Option<&Cursor<'_>>) -> MetricsListener {
    let fields = section(reader, at, &METRICS);
    MetricsListener {
        address: address(reader, fields.as_ref(), METRICS_PORT),
        tls: value(reader, fields.as_ref(), "tls", tls),
        allow: value(reader, fields.as_ref(), "allow", allow).unwrap_or_else(loopback),
        bearer_token: value(reader, fields.as_ref(), "bearer_token", |r, at| r.secret(at)),
    }
}

fn address(reader: &mut Reader<'_>, fields: Option<&Fields<'_>>, port: u16) -> SocketAddr {
    let address = value(reader, fields, "address", |reader, at| reader.address(at));
    address.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn allow(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Vec<IpNet>> {
    let networks = reader.list(at, |reader, at| reader.network(at))?;
    if at.is_empty_list() {
        let hint =
            "leave it out for this machine only, or write [0.0.0.0/0, \"::/0\"] for everyone";
        reader.wrong(at, "an empty list lets nobody in", hint);
    }
    Some(networks)
}

fn trusted_proxies(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<Vec<IpNet>> {
    reader.list(at, |reader, at| {
        let network = reader.network(at)?;
        if network.prefix_len() == 0 {
            let message = "every client would be a proxy, and say whose address it has";
            reader.wrong(at, message, "write the networks of your proxies only");
        }
        Some(network)
    })
}

fn loopback() -> Vec<IpNet> {
    vec![
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    ]
}

fn tls(reader: &mut Reader<'_>, at: &Cursor<'_>) -> Option<TlsFiles> {
    let fields = reader.fields(at, &TLS);
    let pair = pair(reader, &fields, at);
    let client_ca = fields.get("client_ca").and_then(|at| authorities(reader, &at));
    Some(TlsFiles { pair: pair?, client_ca })
}
