//! The series that a request counts in, looked up once. To look one up takes a lock that all workers share, hashes
//! the labels, and counts one more owner of the series: for a small request that was a fifth of what was done after
//! its end.

use std::sync::OnceLock;

use super::provider_metrics::ProviderSeries;
use super::usage_metrics::UsageSeries;
use crate::dialects::Endpoint;

/// One series, once it has been counted in: until then there is none to be seen.
pub(super) struct Kept<M>(OnceLock<M>);

impl<M> Default for Kept<M> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<M> Kept<M> {
    /// The series, which `look_up` gives the first time.
    pub(super) fn get(&self, look_up: impl FnOnce() -> M) -> &M {
        self.0.get_or_init(look_up)
    }
}

/// Something for each endpoint.
#[derive(Default)]
pub(super) struct ByEndpoint<T>([T; Endpoint::ALL.len()]);

impl<T> ByEndpoint<T> {
    pub(super) fn get(&self, endpoint: Endpoint) -> &T {
        &self.0[endpoint as usize]
    }
}

/// What is counted of one target of a model: all calls of it are of one model and one provider.
#[derive(Default)]
pub struct TargetSeries {
    pub(super) provider: ProviderSeries,
    pub(super) usage: UsageSeries,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_its_own_place() {
        let places = ByEndpoint::<Kept<Endpoint>>::default();
        for endpoint in Endpoint::ALL {
            places.get(endpoint).get(|| endpoint);
        }
        for endpoint in Endpoint::ALL {
            assert_eq!(*places.get(endpoint).get(|| unreachable!("it is kept")), endpoint);
        }
    }
}
