//! A child process, over its standard input and output.

use super::{Call, Event, Failure};
use crate::config::valid::mcp::{StdioTransport, Target};

/// A server that is started here.
#[derive(Debug)]
pub struct StdioUpstream {}

/// An answer on its way.
#[derive(Debug)]
pub struct Answer {}

impl StdioUpstream {
    /// A server that nobody has called yet.
    ///
    /// # Errors
    /// There is no program in its command.
    pub fn new(_target: &Target, _transport: &StdioTransport) -> Result<Self, String> {
        Ok(Self {})
    }

    /// How often it has said that its tools are others now.
    pub(super) fn list_changes(&self) -> u64 {
        0
    }

    pub(super) async fn request(&self, _call: Call) -> Result<Answer, Failure> {
        Err(Failure::Unreachable("no transport".to_owned()))
    }
}

impl Answer {
    pub(super) async fn next(&mut self) -> Result<Event, Failure> {
        Err(Failure::Broken("no transport".to_owned()))
    }
}
